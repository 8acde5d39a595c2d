"""``Idempotency-Key``: a repeated request gets the prediction of the first one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.problems import CONFLICT, ServiceError


class Idempotency:
    """Computes prediction ids from clients' idempotency keys, and tracks which are in progress.

    Without ``secret`` all replicas compute the same ids: for services where API keys separate predictions. With it,
    guessing an idempotency key does not give the id.
    """

    def __init__(self, secret: bytes, is_writing: Callable[[str], bool]) -> None:
        """``is_writing`` says whether an id's record is still being written or discarded after its request ended."""
        self._secret, self._is_writing = secret, is_writing
        self._under_way: set[str] = set()

    def id_of(self, picture: bytes, *asked: str) -> str:
        """The prediction id for the image bytes and ``asked``: owner, idempotency key, operating point, model.

        So an id never refers to another image. Hashing takes milliseconds: keep it off the event loop.
        """
        named = "\0".join((hashlib.sha256(picture).hexdigest(), *asked)).encode()
        return hashlib.blake2b(named, key=self._secret, digest_size=16, person=b"prediction").hexdigest()

    @contextmanager
    def under_way(self, id: str) -> Iterator[None]:
        """Raise :class:`ServiceError` if another request is making this prediction."""
        if id in self._under_way or self._is_writing(id):
            detail = "a request with this Idempotency-Key is under way; try again shortly"
            raise ServiceError(CONFLICT, detail, headers={"Retry-After": "1"})
        self._under_way.add(id)
        try:
            yield
        finally:
            self._under_way.discard(id)
