"""Objects in S3 in the place of files: named, listed and read.

By the SDK of AWS, which takes credentials, region and ``AWS_ENDPOINT_URL`` from where its other programs do.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Self

from service.cli.files import read_file
from service.cli.paths import SCHEME, is_remote
from service.imaging import PictureTooLarge

READS_S3 = find_spec("boto3") is not None

# For servers that do not answer; an image that could not be read is repeated by the next command.
_CONNECT_SECONDS, _READ_SECONDS, _ATTEMPTS = 10, 60, 4
_CONNECTIONS = 64


class S3Error(OSError):
    """What the server or the SDK said; ``filename`` is the address."""

    def __init__(self, location: S3Location, why: str) -> None:
        super().__init__(errno.EIO, why, str(location))


class S3Location(NamedTuple):
    """An object by its key, or all objects whose keys begin with this one and a slash.

    Unlike a path, a key may have empty parts and dots, and every one of them counts.
    """

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``s3://bucket/key``; raises ValueError without a bucket, or without the extra ``s3``."""
        if not READS_S3:
            raise ValueError("install the service with its extra [s3]")
        bucket, _, key = text.removeprefix(SCHEME).partition("/")
        if not bucket:
            raise ValueError(f"name a bucket: {SCHEME}bucket/prefix")
        return cls(bucket, key)

    def __fspath__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"

    def __str__(self) -> str:
        return self.__fspath__()

    def below(self) -> Iterator[tuple[str, S3Location]]:
        """The objects below, in the order of their keys: each by its key after this one, and whole.

        Memory holds a thousand of them. Raises :class:`S3Error`.
        """
        folder = self.key if not self.key or self.key.endswith("/") else f"{self.key}/"
        pages = _client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=folder)
        with _said_of(self):
            for page in pages:
                for each in page.get("Contents", ()):
                    yield each["Key"].removeprefix(folder), S3Location(self.bucket, each["Key"])

    def read(self, max_bytes: int) -> bytes:
        """The bytes of the object. Raises :class:`PictureTooLarge` before a larger one is read, :class:`S3Error`."""
        with _said_of(self):
            answer = _client().get_object(Bucket=self.bucket, Key=self.key)
            with closing(answer["Body"]) as body:
                if (num_bytes := answer["ContentLength"]) > max_bytes:
                    raise PictureTooLarge(
                        f"the object has {num_bytes:,} bytes, the limit is {max_bytes:,} (CIN_MAX_UPLOAD_BYTES)"
                    )
                data: bytes = body.read()
                return data


# Where an image is.
Location = Path | S3Location


def locate(text: str, folder: str = "") -> Location:
    """What a name means; relative paths are relative to ``folder``. Raises ValueError for an address without bucket."""
    return S3Location.parse(text) if is_remote(text) else Path(folder, text)


def read_location(location: Location, max_bytes: int) -> bytes:
    """The bytes of a file or an object, as :func:`read_file` and :meth:`S3Location.read`."""
    return location.read(max_bytes) if isinstance(location, S3Location) else read_file(location, max_bytes)


@cache
def _client() -> Any:
    """One for the process: it keeps connections, and threads may share it."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        config=Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            max_pool_connections=_CONNECTIONS,
        ),
    )


@contextmanager
def _said_of(location: S3Location) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        said = error.response.get("Error", {})
        raise S3Error(location, f"{said.get('Message') or error} ({said.get('Code', '-')})") from error
    except BotoCoreError as error:
        raise S3Error(location, str(error)) from error
