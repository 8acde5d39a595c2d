"""``Content-Digest``: a body that changed on its way is refused, whatever still decodes."""

from __future__ import annotations

import base64
import hashlib

import httpx
import pytest
from fastapi.testclient import TestClient

from service.api.digests import ContentDigest, DigestError
from tests.service.tiny_bundle import dark_square, picture_bytes
from tests.service.wire import check_problem

PICTURE = picture_bytes(dark_square(), "JPEG")

# RFC 9530, appendix D: the body of its examples with the digest it prints.
RFC_BODY = b'{"hello": "world"}\n'
RFC_SHA_256 = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
RFC_SHA_512 = "sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:"


def digest(body: bytes, algorithm: str = "sha-256") -> str:
    value = base64.b64encode(hashlib.new(algorithm.replace("-", ""), body).digest()).decode()
    return f"{algorithm}=:{value}:"


@pytest.mark.parametrize(
    "header", [RFC_SHA_256, RFC_SHA_512, f"{RFC_SHA_256}, {RFC_SHA_512}", f"md5=:AAAA:,{RFC_SHA_256}"]
)
def test_the_examples_of_the_rfc(header: str) -> None:
    expected = ContentDigest.parse(header)
    for start in range(0, len(RFC_BODY), 5):
        expected.update(RFC_BODY[start : start + 5])
    expected.check()
    expected.update(b"\n")
    with pytest.raises(DigestError):
        expected.check()


@pytest.mark.parametrize("header", ["", "sha-256", "sha-256=abc", "sha-256=:a:", "SHA-256=:AAAA:", "sha-256=:A A=:"])
def test_what_is_no_digest(header: str) -> None:
    with pytest.raises(DigestError, match="RFC 9530"):
        ContentDigest.parse(header)


def send(client: TestClient, body: bytes, header: str, kind: str = "image/jpeg") -> httpx.Response:
    headers = {"content-type": kind, "content-digest": header}
    response: httpx.Response = client.post("/predict", content=body, headers=headers)
    return response


def test_a_picture_that_changed_on_its_way(client: TestClient) -> None:
    assert send(client, PICTURE, digest(PICTURE)).status_code == 200
    assert send(client, PICTURE, "unknown=:AAAA:").status_code == 200
    changed = bytearray(PICTURE)
    changed[-40] ^= 1  # in the scan, where it decodes all the same
    assert client.post("/predict", content=bytes(changed), headers={"content-type": "image/jpeg"}).status_code == 200
    check_problem(send(client, bytes(changed), digest(PICTURE)), 400, "Content-Digest")
    check_problem(send(client, bytes(changed), digest(PICTURE, "sha-512")), 400, "Content-Digest")
    check_problem(send(client, PICTURE[:500], digest(PICTURE)), 400, "changed on its way")
    check_problem(send(client, PICTURE, "sha-256=nonsense"), 400, "RFC 9530")


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_a_form_is_digested_as_a_whole(client: TestClient, path: str) -> None:
    request = client.build_request("POST", path, files={"image": ("a.jpg", PICTURE)})
    body = request.read()
    headers = {"content-type": request.headers["content-type"]}
    assert client.post(path, content=body, headers=headers | {"content-digest": digest(body)}).status_code == 200
    response = client.post(path, content=body, headers=headers | {"content-digest": digest(PICTURE)})
    check_problem(response, 400, "Content-Digest")
