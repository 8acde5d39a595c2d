"""Clients that speak HTTP badly, over bare sockets."""

from __future__ import annotations

import re
import socket
import time
from contextlib import suppress

Address = tuple[str, int]

BOUND = 90.0


def connect(address: Address, *, receive_buffer: int | None = None, source: str = "") -> socket.socket:
    """A connection, from the address ``source``, that waits for nothing longer than ``BOUND`` seconds."""
    connection = socket.socket()
    connection.bind((source, 0))
    if receive_buffer is not None:  # has to be small before the window is agreed on
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(BOUND)
    connection.connect(address)
    return connection


def post(length: int, *headers: str) -> bytes:
    """The head of a picture's request."""
    lines = ["POST /predict HTTP/1.1", "Host: x", "Content-Type: image/jpeg", f"Content-Length: {length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def get(path: str) -> bytes:
    """A whole request."""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes, or resets."""
    received = []
    with suppress(ConnectionResetError, BrokenPipeError):
        while part := connection.recv(65536):
            received.append(part)
    return b"".join(received)


def read_answer(connection: socket.socket) -> bytes:
    """One answer that says how long it is."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (part := connection.recv(65536)):
            return received
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    missing = int(length[1]) - len(body) if length else 0
    while missing > 0 and (part := connection.recv(missing)):
        received += part
        missing -= len(part)
    return received


def statuses(answers: bytes) -> list[int]:
    """The status of each answer, in order."""
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]


def seconds_until_closed(connection: socket.socket) -> float:
    """How long the other side keeps the connection from now on; answers are read meanwhile."""
    began = time.monotonic()
    read_all(connection)
    return time.monotonic() - began


def trickle_until_closed(connection: socket.socket, piece: bytes, *, pause: float) -> tuple[float, bytes]:
    """Send a piece after every pause until the other side closes: how long that took, and what it said."""
    began = time.monotonic()
    connection.settimeout(pause)
    said = b""
    while time.monotonic() - began < BOUND:
        try:
            if not (part := connection.recv(65536)):
                break
            said += part
        except TimeoutError:
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(piece)
        except ConnectionResetError:
            break
    return time.monotonic() - began, said


def read_problem(connection: socket.socket) -> bytes:
    """What is answered while the client keeps the connection."""
    connection.settimeout(5)
    answer = b""
    while not answer.endswith(b"}") and (part := connection.recv(65536)):
        answer += part
    return answer
