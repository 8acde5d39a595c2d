"""Works on jobs: makes the predictions of their images as for requests, and keeps the results.

It keeps no state that a restart would miss: an image that a killed worker had in hand is queued again, and then worked
on alone, so that an image that ends workers takes no other one with it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import perf_counter

from service.access.keys import Caller, LiveKeys
from service.jobs.dicomweb import Source
from service.jobs.job import ANNOUNCE, ANSWER, LIST, Begun, Handler, JobResult, Picture
from service.jobs.metrics import JobMetrics
from service.jobs.store import JobStore
from service.prediction.predictor import Predictor, Result
from service.problems import CONFLICT, DEADLINE, INTERNAL, PACS_AWAY, PACS_FAILED, PACS_REFUSED, ServiceError

log = logging.getLogger(__name__)

# Processes that an image may end.
MOST_TRIES = 3
# For a reason that passes, such as a disk that is full: three minutes in all; a PACS that is away: an hour.
MOST_DELAYS, MOST_DELAYS_AWAY = 8, 64
_LONGEST_DELAY = 60.0
_PASSES = (429, 503, 504, 507)

_PAUSE_SECONDS = 0.2
# Between two looks for what is in no message. And images that were answered are gone from the disk so much later.
_TEND_SECONDS = 60.0
# Announcements at once, beside images.
_NUM_ANNOUNCING = 2


@dataclass
class Worker:
    """Lives on one event loop. ``stopping``, once set, ends it after the images in hand.

    ``store`` waits for Redis until then. ``problem_of`` gives the problem that stands for an error. ``keys`` tell whose
    key was revoked: its jobs are erased. ``source`` has the images of jobs with a query. ``announce`` announces the end
    of a job; None: another worker does.
    """

    store: JobStore
    predictor: Predictor
    keys: LiveKeys | None
    problem_of: Callable[[BaseException], ServiceError]
    metrics: JobMetrics
    in_flight: int
    deadline_seconds: float  # for an image
    source: Source | None = None
    announce: Handler | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._places, self._entrance = asyncio.Semaphore(self.in_flight), asyncio.Lock()

    async def run(self) -> None:
        """Work until ``stopping`` is set, also while Redis is away."""
        handlers: dict[str, Handler] = {ANSWER: self.answer, LIST: self.list_images}
        if self.announce is not None:
            handlers[ANNOUNCE] = self.announce
        tending = asyncio.create_task(self._tend())
        while not self.stopping.is_set():
            consumer = self.store.consumer(handlers, at_once=self.in_flight + _NUM_ANNOUNCING)
            while consumer.works and not self.stopping.is_set():
                await asyncio.sleep(_PAUSE_SECONDS)
            if self.predictor.health.failure is None:
                with suppress(Exception):  # Redis is away; what was not given back comes back by itself
                    await asyncio.to_thread(consumer.stop, self.deadline_seconds)
        tending.cancel()
        await asyncio.wait([tending])

    async def answer(self, id: str, index: int) -> None:
        """Give an image of a job its result, now or later; return when Redis has the one or the other.

        Raises only where the process is to end: :class:`JobsError`, once ``stopping`` is set.
        """
        picture = await self.store.look(id, index)
        if picture is None or not await self._has_live_key(id, picture.owner):
            return
        caller = Caller(picture.owner, counted_as=picture.owner.partition(":")[0])
        async with self._place(alone=picture.tries > 0):
            attempt = secrets.token_hex(16)
            begun = await self.store.begin(id, index, attempt)
            if begun is not None:
                await self._judge(picture, attempt, begun, caller)

    async def list_images(self, id: str) -> None:
        """Find the images of a job with a query, now or later; return and raise as :meth:`answer` does."""
        job = await self.store.get(id)
        if job is None or job.listed or job.asked is None or not await self._has_live_key(id, job.owner):
            return
        try:
            found = await self._required_source().search(job.asked, job.pictures)
        except Exception as error:
            problem = self._problem_of(error, "the query of a job")
            if (seconds := _pause(problem, job.listings)) is not None:
                return await self.store.list_later(id, seconds=seconds)
            await self.store.listed(job, [], problem.body().model_dump_json())
        else:
            await self.store.listed(job, found)

    async def _has_live_key(self, id: str, owner: str) -> bool:
        """False: the key of its owner was revoked, and the job is erased."""
        if self.keys is None:
            return True
        while self.keys.failure is not None:  # it was logged
            await asyncio.sleep(_PAUSE_SECONDS)
        if owner in self.keys.named:
            return True
        if await self.store.erase(id, [owner]) is not None:
            self.predictor.audit.note("job-delete", by=owner, job=id, outcome="key-revoked")
        return False

    async def _judge(self, picture: Picture, attempt: str, begun: Begun, caller: Caller) -> None:
        result: Result | None = None
        try:
            result = await self._predict(picture, attempt, begun, caller)
            said = JobResult.to_json(picture.index, picture.item, prediction=result.json)
        except Exception as error:
            if self.predictor.health.failure is not None:  # no image's fault
                self.stopping.set()
                raise
            problem = self._problem_of(error, "an image of a job")
            if (seconds := _pause(problem, picture.delays)) is not None:
                return await self.store.put_off(picture.job, picture.index, attempt, seconds=seconds)
            said = JobResult.to_json(picture.index, picture.item, problem=problem.body().model_dump_json())
        if await self.store.finish(picture.job, picture.index, attempt, said, failed=result is None):
            self.metrics.pictures.labels("answered" if result is not None else "failed").inc()
        elif result is not None:
            await self.predictor.take_back(result, caller)

    def _problem_of(self, error: Exception, what: str) -> ServiceError:
        problem = self.problem_of(error)
        if problem.problem is INTERNAL and not isinstance(error, ServiceError):
            log.error("%s failed: %s", what, type(error).__name__)
        return problem

    def _required_source(self) -> Source:
        if self.source is None:
            raise ServiceError(PACS_REFUSED, "the service has no DICOMweb servers any more; send the images")
        return self.source

    async def _predict(self, picture: Picture, attempt: str, begun: Begun, caller: Caller) -> Result:
        """The prediction; raises what :meth:`Predictor.predict` raises, and :class:`ServiceError`."""
        began = perf_counter()
        for each in begun.before:
            await self.predictor.give_up(each, caller)
        if picture.tries >= MOST_TRIES:
            entry = {"by": caller.name, "id": attempt, "job": picture.job}
            await self.predictor.audit.record("prediction", **entry, outcome=INTERNAL.name)
            detail = f"{MOST_TRIES} processes ended while they worked on this image; it is not tried again"
            raise ServiceError(INTERNAL, detail)
        image = begun.image if picture.server is None else await self._retrieve(picture, attempt, caller)
        points = {point.name: point for point in self.predictor.scheduler.bundle.manifest.operating_points}
        if picture.operating_point not in points:
            detail = "the model that serves now has no operating point of this name; send the image again"
            raise ServiceError(CONFLICT, detail)
        point, follow_up = points[picture.operating_point], picture.item.follow_up
        try:
            async with asyncio.timeout(self.deadline_seconds):
                return await self.predictor.predict(image, caller, point, began=began, id=attempt, follow_up=follow_up)
        except TimeoutError:
            detail = f"no answer within {self.deadline_seconds:g} s, each of several times; send the image again"
            raise ServiceError(DEADLINE, detail) from None

    async def _retrieve(self, picture: Picture, attempt: str, caller: Caller) -> bytes:
        """The file of an image on a DICOMweb server. Raises why there is none, which the audit log has when it is not
        asked for again."""
        assert picture.server is not None
        assert picture.item.instance is not None
        try:
            return await self._required_source().retrieve(picture.server, picture.item.instance)
        except Exception as error:
            problem = self.problem_of(error)
            if _pause(problem, picture.delays) is None:
                entry = {"by": caller.name, "id": attempt, "job": picture.job}
                await self.predictor.audit.record("prediction", **entry, outcome=problem.problem.name)
            raise

    @asynccontextmanager
    async def _place(self, *, alone: bool) -> AsyncIterator[None]:
        """One of the places for images, or all of them."""
        num = self.in_flight if alone else 1
        async with self._entrance:  # two that want all of them would wait for each other
            for _ in range(num):
                await self._places.acquire()
        try:
            yield
        finally:
            for _ in range(num):
                self._places.release()

    async def _tend(self) -> None:
        while True:
            if num := await self.store.remind():
                log.info("queued %d tasks of jobs again that were in no message", num)
            await self.store.rewrite()
            await asyncio.sleep(_TEND_SECONDS)


def _pause(problem: ServiceError, delays: int) -> float | None:
    """Seconds until the next attempt after so many that were put off; None: there is none."""
    passes = problem.problem is PACS_FAILED or problem.problem.status in _PASSES
    most = MOST_DELAYS_AWAY if problem.problem is PACS_AWAY else MOST_DELAYS if passes else 0
    return min(2.0**delays, _LONGEST_DELAY) if delays < most else None
