"""The ``cin`` command in this process, and what it works on."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.bundle import Bundle
from service.cli.main import app
from tests.service.tiny_bundle import dark_square, picture_bytes

BUCKET = "images"


def cin(*arguments: str | Path, **environment: str) -> Result:
    """Run one command to its end."""
    return CliRunner().invoke(app, [str(a) for a in arguments], env=environment)


@pytest.fixture
def environment(tiny_bundle: Bundle) -> dict[str, str]:
    return {"CIN_BUNDLE": str(tiny_bundle.folder), "CIN_PROVIDER": "cpu", "CIN_INFERENCE_THREADS": "1"}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Seven different images in a folder and one below it, and files that are no images."""
    folder = tmp_path / "archive"
    (folder / "below").mkdir(parents=True)
    for i in range(7):
        name = f"below/{i}.PNG" if i % 2 else f"{i}.png"
        (folder / name).write_bytes(picture_bytes(dark_square(start=4 * i)))
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "lesion.png"
    path.write_bytes(picture_bytes(dark_square()))
    return path


class Bucket:
    """What others do to the bucket while a command runs."""

    def __init__(self, url: str) -> None:
        from moto.backends import get_backend
        from moto.core.models import DEFAULT_ACCOUNT_ID

        self._url = url
        self._tell("reset")
        # The server runs in this process; requests would take milliseconds each.
        self._backend = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"]
        self._backend.create_bucket(BUCKET, "us-east-1")

    def put(self, key: str, data: bytes = b"") -> None:
        self._backend.put_object(BUCKET, key, data)

    def delete(self, key: str) -> None:
        self._backend.delete_object(BUCKET, key)

    def deny(self, *, after: float = 0) -> None:
        """Take no key any more, after so many requests."""
        self._tell("reset-auth", str(after))

    def _tell(self, what: str, how: str = "") -> None:
        request = urllib.request.Request(f"{self._url}/moto-api/{what}", how.encode(), {"Content-Type": "text/plain"})
        urllib.request.urlopen(request).close()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of a server of S3's protocol; one for all tests, because the SDK's client is."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("boto3", reason="the extra [s3] is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket, found as all programs of AWS find one."""
    for name, value in {
        "ENDPOINT_URL": s3_server,
        "ACCESS_KEY_ID": "id",
        "SECRET_ACCESS_KEY": "key",
        "DEFAULT_REGION": "us-east-1",
        "EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    bucket = Bucket(s3_server)
    yield bucket
    bucket.deny(after=float("inf"))


@pytest.fixture
def copied(bucket: Bucket, archive: Path) -> str:
    """The address of a copy of the archive."""
    for path in sorted(archive.rglob("*.*")):
        bucket.put(f"copy/{path.relative_to(archive)}", path.read_bytes())
    bucket.put("copy/")
    bucket.put("copy-of-others/1.png", b"")
    return f"s3://{BUCKET}/copy"
