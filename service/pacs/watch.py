"""The loop between a PACS and the network: search, retrieve, predict, store, again and again.

It keeps no state that a restart would miss. The identifiers of results follow from the image and the model, so the PACS
itself tells which images have theirs, and storing a result twice changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from time import monotonic, perf_counter
from typing import NamedTuple, Protocol

from service.imaging import PictureError
from service.imaging.fork_server import DecoderError
from service.inference.answers import DeviceError, EngineError
from service.pacs.client import Instance, Pacs, PacsAway, PacsError, PacsRefused
from service.pacs.metrics import Outcome, WatchMetrics
from service.problems import ServiceError

log = logging.getLogger(__name__)

# An instance that fails again and again is tried every hour, a PACS that is away every minute.
_LONGEST_PAUSE = 3600.0
_LONGEST_ABSENCE = 60.0
# A list of them takes 100 MB.
MOST_INSTANCES = 200_000


class Results(Protocol):
    """What is made of an image."""

    def uids(self, instance: Instance) -> Sequence[str]:
        """The identifiers of an instance's results."""

    def reason_to_skip(self, instance: Instance) -> str | None:
        """The kind of an instance that gets no results, None for one that does."""

    async def make(self, instance: Instance, data: bytes) -> Sequence[bytes]:
        """The results, as DICOM files, for an instance and its file."""


@dataclass(frozen=True)
class Selection:
    """Which instances are looked for."""

    modality: str = "DMS"
    since: date | None = None

    def matching(self) -> dict[str, str]:
        """The same in the words of QIDO-RS."""
        return {"Modality": self.modality} | ({} if self.since is None else {"StudyDate": f"{self.since:%Y%m%d}-"})


class _Failure(NamedTuple):
    times: int
    next_try: float  # by the monotonic clock


@dataclass
class Watch:
    """Lives on one event loop. ``stopping``, once set, ends it after the images under way."""

    pacs: Pacs
    results: Results
    selection: Selection
    metrics: WatchMetrics
    every_seconds: float
    in_flight: int
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    counts: Counter[Outcome] = field(default_factory=Counter)
    # Of what the last search found; lost at the end, which costs a question for each instance.
    _done: set[str] = field(default_factory=set)
    _failures: dict[str, _Failure] = field(default_factory=dict)
    _skipped: Counter[str] = field(default_factory=Counter)
    # Passes that failed in a row, and why the last one did.
    _absences: int = 0
    _trouble: str = ""

    async def once(self) -> bool:
        """One pass; whether every image has its results now.

        Raises :class:`PacsError` when the PACS could not be searched, or went away.
        """
        await self._pass()
        return not (self._failures or self.stopping.is_set())

    async def run(self) -> bool:
        """Passes until ``stopping`` is set, also while the PACS is away; True then.

        Raises :class:`PacsRefused` when that would not help, and :class:`EngineError` when the device failed.
        """
        while not self.stopping.is_set():
            try:
                await self._pass()
            except PacsRefused:
                raise
            except PacsError as error:
                self.metrics.reachable.set(0)
                if str(error) != self._trouble:  # once, not every minute
                    log.error("%s; tried again until it works", error)
                self._absences, self._trouble = self._absences + 1, str(error)
                longest = max(_LONGEST_ABSENCE, self.every_seconds)
                pause = min(self.every_seconds * 2 ** min(self._absences, 16), longest)
            else:
                self._end_trouble()
                pause = self.every_seconds
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), pause)
        return True

    def _end_trouble(self) -> None:
        """Once an image was answered, or none was due: a PACS that only answers searches may still refuse results."""
        if self._trouble:
            log.info("the PACS answers again")
        self._absences, self._trouble = 0, ""

    async def _pass(self) -> None:
        due = await self._search()
        waiting = iter(enumerate(due, 1))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.in_flight):
                    group.create_task(self._work(waiting, len(due)))
        except BaseExceptionGroup as failures:  # the first is why the others were cancelled
            raise failures.exceptions[0] from None
        if not self.stopping.is_set():
            self.metrics.last_pass.set_to_current_time()

    async def _search(self) -> list[Instance]:
        """The instances that are to be looked at now."""
        found: dict[str, Instance] = {}
        skipped = Counter[str]()
        async for page in self.pacs.search(self.selection.matching()):
            for instance in page:
                if (kind := self.results.reason_to_skip(instance)) is None:
                    found[instance.uid] = instance
                else:
                    skipped[kind] += 1
            if len(found) + skipped.total() > MOST_INSTANCES:
                raise PacsError(f"the PACS has more than {MOST_INSTANCES:,} such instances; give a later --since")
            if self.stopping.is_set():
                return []
        self.metrics.reachable.set(1)
        self._tell_skipped(skipped)
        self._done &= found.keys()
        self._failures = {uid: failure for uid, failure in self._failures.items() if uid in found}
        now = monotonic()
        due = [
            instance
            for uid, instance in found.items()
            if uid not in self._done and (uid not in self._failures or self._failures[uid].next_try <= now)
        ]
        random.shuffle(due)  # several watchers share the work then
        return due

    def _tell_skipped(self, skipped: Counter[str]) -> None:
        if skipped and skipped != self._skipped:
            log.info("left out: %s", ", ".join(f"{kind}: {num}" for kind, num in sorted(skipped.items())))
        self._count("skipped", max(0, skipped.total() - self._skipped.total()))
        self._skipped = skipped

    async def _work(self, waiting: Iterator[tuple[int, Instance]], num: int) -> None:
        for number, instance in waiting:
            if self.stopping.is_set():
                return
            began = perf_counter()
            try:
                outcome = await self._treat(instance)
            except PacsAway as error:
                # Should it be away for this instance alone, the next pass leaves it out.
                self._fail(instance, str(error), f"{number} of {num}")
                raise
            except (PacsRefused, DeviceError, ServiceError):
                raise  # every other instance would fail as well
            except (PacsError, PictureError, DecoderError, EngineError) as error:
                self._fail(instance, str(error), f"{number} of {num}")
            except Exception as error:
                # Whatever it is, other images can be answered. Its text may hold a value of the file.
                self._fail(
                    instance, f"it failed for an unexpected reason ({type(error).__name__})", f"{number} of {num}"
                )
            else:
                self._end_trouble()
                self._done.add(instance.uid)
                self._failures.pop(instance.uid, None)
                self._count(outcome)
                seconds = perf_counter() - began
                self.metrics.seconds.labels(outcome).observe(seconds)
                told = "results stored" if outcome == "stored" else "has its results"
                log.info("%d of %d: instance %s: %s (%.2f s)", number, num, instance.uid, told, seconds)

    async def _treat(self, instance: Instance) -> Outcome:
        uids = self.results.uids(instance)
        if await self._has_all(instance, uids):
            return "present"
        files = await self.results.make(instance, await self.pacs.retrieve(instance))
        try:
            await self.pacs.store(instance.study, files)
        except (PacsAway, PacsRefused):
            raise
        except PacsError:
            # Some refuse what they have: another watcher may have been faster.
            if not await self._has_all(instance, uids):
                raise
            return "present"
        return "stored"

    async def _has_all(self, instance: Instance, uids: Sequence[str]) -> bool:
        return len(await self.pacs.present(instance.study, uids)) == len(uids)

    def _fail(self, instance: Instance, reason: str, number: str) -> None:
        times = self._failures[instance.uid].times + 1 if instance.uid in self._failures else 1
        # Longer than for a PACS that is away: where one image makes it look so, the next pass does without.
        pause = min(self.every_seconds * 2 ** min(times + 1, 16), _LONGEST_PAUSE)
        self._failures[instance.uid] = _Failure(times, monotonic() + pause)
        self._count("failed")
        log.warning("%s: instance %s: %s; next try after %.0f s", number, instance.uid, reason, pause)

    def _count(self, outcome: Outcome, num: int = 1) -> None:
        self.counts[outcome] += num
        self.metrics.instances.labels(outcome).inc(num)
