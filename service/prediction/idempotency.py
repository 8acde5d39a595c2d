"""``Idempotency-Key``: a request that is sent again gets the first one's prediction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.problems import CONFLICT, ServiceError


class Idempotency:
    """The ids of predictions by their clients' keys, and which of them are being made.

    Without ``secret`` every replica gives a key the same id: for services where API keys keep predictions apart. With
    it an id cannot be computed from a key that is easy to guess.
    """

    def __init__(self, secret: bytes, is_writing: Callable[[str], bool]) -> None:
        """``is_writing`` tells whether the record of an id is being put or discarded after its request has ended."""
        self._secret, self._is_writing = secret, is_writing
        self._under_way: set[str] = set()

    def id_of(self, picture: bytes, *asked: str) -> str:
        """The id of the prediction of ``picture`` for ``asked``: its owner, the key, the operating point, the model.

        So no id ever stands for another picture's prediction. Hashing takes milliseconds: keep it off the event loop.
        """
        named = "\0".join((hashlib.sha256(picture).hexdigest(), *asked)).encode()
        return hashlib.blake2b(named, key=self._secret, digest_size=16, person=b"prediction").hexdigest()

    @contextmanager
    def under_way(self, id: str) -> Iterator[None]:
        """Raises :class:`ServiceError` while another request makes this prediction."""
        if id in self._under_way or self._is_writing(id):
            detail = "a request with this Idempotency-Key is under way; try again shortly"
            raise ServiceError(CONFLICT, detail, headers={"Retry-After": "1"})
        self._under_way.add(id)
        try:
            yield
        finally:
            self._under_way.discard(id)
