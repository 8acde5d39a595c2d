"""One image's transaction, for HTTP and the command line: decode, infer, describe, keep, audit.

The commit stores the prediction, writes it to the ledger and the audit log and counts it. Any failure before that rolls
it back: record and ledger entry are deleted, and the audit log gets the reason.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from time import perf_counter

import numpy as np

from service.access.keys import Caller
from service.admission.admission import Busy
from service.attention.overlay import AttentionMaps
from service.audit.chain import Head
from service.audit.file import AuditError
from service.audit.log import AuditHangs, AuditLog
from service.bundle import OperatingPoint
from service.health import Health
from service.imaging import Picture, PictureError
from service.imaging.decoder_pool import DecoderPool
from service.imaging.fork_server import DecoderError
from service.inference.answers import Answer, DeviceError, EngineError
from service.inference.batching import Stopped
from service.inference.scheduler import Scheduler
from service.ledger.entries import FollowUp
from service.ledger.file import LedgerError
from service.ledger.ledger import Ledger
from service.prediction.describe import Examiner, Stages, attention_maps, describe
from service.prediction.ledger_entry import followed_by_file, ledger_entry
from service.prediction.metrics import PredictionMetrics
from service.prediction.schemas import Prediction
from service.problems import ServiceError
from service.storage.records import Records
from service.storage.store import Record, RecordExists, RecordsError

# What :meth:`Predictor.predict` raises; everything else is a bug.
FAILURES = (
    *(ServiceError, Busy, PictureError, DecoderError, EngineError, Stopped, RecordsError, LedgerError, AuditError),
    MemoryError,
)

_GIVEN_UP = "given-up"
_CANARY = "the canary image"  # its own client, so that it does not wait for other clients' images


@dataclass(frozen=True)
class Result:
    """A committed prediction, as a model and as the kept JSON, with the maps that overlays are drawn from, and the
    head of the ledger that has it."""

    prediction: Prediction
    json: str
    maps: AttentionMaps
    ledger: str | None = None


@dataclass(frozen=True)
class Predictor:
    """Makes predictions; lives on one event loop.

    ``point`` is the operating point for callers that name none. ``outcome_of`` names an error in the audit log.
    """

    decoders: DecoderPool
    scheduler: Scheduler
    health: Health
    point: OperatingPoint
    examiner: Examiner | None
    records: Records
    ledger: Ledger
    audit: AuditLog
    metrics: PredictionMetrics
    outcome_of: Callable[[BaseException], str]
    lifetime: timedelta | None  # of predictions; None: they are not kept

    async def predict(
        self,
        data: bytes,
        caller: Caller,
        point: OperatingPoint,
        *,
        began: float,
        id: str | None = None,
        follow_up: FollowUp | None = None,
    ) -> Result:
        """The prediction for the bytes of one image, with ``id`` or a random id.

        ``began`` is when (by ``perf_counter``) the request arrived. Without ``follow_up`` the lesion is the one that a
        DICOM file states, where there is a ledger. Raises one of :data:`FAILURES`;
        :class:`ServiceError` when the service can no longer be trusted.
        """
        id = id or secrets.token_hex(16)
        entry = self._entry(caller)
        try:
            picture, answer, stages = await self._infer(data, caller, began)
            if follow_up is None and self.ledger.kept:
                follow_up = followed_by_file(picture, datetime.now(UTC).date())
            engine = self.scheduler.engine
            prediction = describe(id, picture, answer, engine, point, self.examiner, stages, self.lifetime, follow_up)
            result = Result(prediction, prediction.model_dump_json(), attention_maps(picture, answer))
            entry["id"] = id
            await self._commit(result, answer, entry, caller)
        except BaseException as error:
            await self._roll_back(entry, error)
            raise
        return replace(result, ledger=entry.get("ledger"))

    async def check_decoder(self) -> None:
        """Decode the canary image like a request's image; a wrong frame makes the service unhealthy.

        Raises :class:`PictureError` or :class:`DecoderError` when it is not decoded; answers can still be trusted then.
        """
        engine = self.scheduler.engine
        picture = engine.bundle.path(engine.bundle.manifest.canary.picture)
        data, expected = await asyncio.to_thread(lambda: (picture.read_bytes(), engine.canary_frame))
        decoded = await self.decoders.decode(data, _CANARY)
        if not np.array_equal(decoded.picture.frame, expected):
            self.health.fail("a decoder process gives another frame of the canary image")

    def take_back(self, result: Result, caller: Caller) -> asyncio.Future[tuple[None, None]]:
        """Roll back a committed prediction that did not reach its client. The result is done when it is deleted, which
        also happens when it is not awaited."""
        ledger = {} if result.ledger is None else {"ledger": result.ledger}
        return self._give_up({**self._entry(caller), "id": result.prediction.id, **ledger})

    async def give_up(self, id: str, caller: Caller) -> None:
        """Roll back what a process that was killed may have left of a prediction, before anyone could know of it.

        Raises :class:`RecordsError`, :class:`LedgerError` or :class:`AuditError`.
        """
        await self.records.delete(id, caller.name)
        erased = await self.ledger.erase(lambda file: file.erase(caller.client, id=id))
        head = {} if erased is None else {"ledger": str(erased)}
        await self.audit.record("prediction", **self._entry(caller), id=id, **head, outcome=_GIVEN_UP)

    def _entry(self, caller: Caller) -> dict[str, str]:
        """The fields of every audit entry about an image; :meth:`predict` adds the ``id``, :meth:`_commit` the head of
        the ``ledger``."""
        engine = self.scheduler.engine
        return {"by": caller.name, "model": engine.bundle.sha256, "variant": engine.variant.name}

    async def _infer(self, data: bytes, caller: Caller, began: float) -> tuple[Picture, Answer, Stages]:
        """Decode one image and run the network on it."""
        arrived = perf_counter()
        picture, decoding = await self.decoders.decode(data, caller.counted_as)
        waited = perf_counter() - arrived - decoding
        try:
            answer = await self.scheduler.batcher.submit(picture.frame)
        except (DeviceError, Stopped):
            raise
        except Exception as error:  # the batcher's listener has logged it
            self.health.require_ready()
            raise error if isinstance(error, EngineError) else EngineError("the network failed") from error
        self.health.require_ready()  # the device may have failed in the meantime
        stages = Stages(began, decoding, waited + answer.queue_seconds, answer.inference_seconds)
        self.metrics.stages.labels("queue").observe(stages.queue)
        self.metrics.stages.labels("inference").observe(stages.inference)
        return picture, answer, stages

    async def _commit(self, result: Result, answer: Answer, entry: dict[str, str], caller: Caller) -> None:
        """Store the prediction, write it to ledger and audit log and count it; the service may fail during each wait.

        The audit log names the ledger's head, so a ledger that was written again contradicts it.
        """
        try:
            await self.records.put(entry["id"], Record(entry["by"], result.json, result.maps))
        except RecordExists:
            del entry["id"]  # the record belongs to another request, and stays
            raise
        self.health.require_ready()
        if self.ledger.kept:
            manifest = self.scheduler.bundle.manifest
            head = await self.ledger.add(ledger_entry(result.prediction, result.maps, manifest, caller.client))
            entry["ledger"] = str(head)
            self.health.require_ready()
        await self.audit.record("prediction", **entry, outcome="answered")
        self.health.require_ready()
        self.metrics.observe(answer, result.prediction)

    async def _roll_back(self, entry: dict[str, str], error: BaseException) -> None:
        """Delete the record, and write the reason to the audit log. Raises :class:`AuditError` when that fails."""
        if isinstance(error, asyncio.CancelledError):  # deadline passed or client gone: do not wait
            self._give_up(entry)
            return
        if not isinstance(error, FAILURES):  # a bug, which a failing audit log must not hide
            self._give_up(entry, self.outcome_of(error))
            return
        deleted = self._discard(entry)
        if isinstance(error, AuditHangs):  # the log may yet say that it was answered
            self.audit.note("prediction", **entry, outcome=self.outcome_of(error))
        elif not isinstance(error, AuditError):
            await self.audit.record("prediction", **entry, outcome=self.outcome_of(error))
        await deleted

    def _give_up(self, entry: dict[str, str], outcome: str = _GIVEN_UP) -> asyncio.Future[tuple[None, None]]:
        deleted = self._discard(entry)
        self.audit.note("prediction", **entry, outcome=outcome)
        return deleted

    def _discard(self, entry: dict[str, str]) -> asyncio.Future[tuple[None, None]]:
        head = Head.parse(entry["ledger"]) if "ledger" in entry else None
        return asyncio.gather(self.records.discard(entry.get("id"), entry["by"]), self.ledger.withdraw(head))
