"""Whether the service's answers can be trusted: the canary check, and a latch that any failure sets permanently."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter

from service.inference.answers import CanaryError, DeviceError, OutOfMemory
from service.inference.batching import Stopped
from service.inference.scheduler import Scheduler
from service.metrics import Metrics
from service.problems import NOT_READY, ServiceError

log = logging.getLogger(__name__)


class Health:
    """Lives on one event loop. Once set, ``failure`` stays set, and the process should end.

    ``draining`` is set at SIGTERM, while the port is still open: requests that arrive are still answered.
    """

    def __init__(
        self, scheduler: Scheduler, metrics: Metrics, on_fatal: Callable[[str], None], *, timeout_seconds: float
    ) -> None:
        """``on_fatal`` is called with the reason when the process should end.

        A canary slower than the timeout is a failure, unless later images were answered: then the queue is only busy.
        """
        self._scheduler, self._metrics, self._on_fatal = scheduler, metrics, on_fatal
        self._timeout_seconds = timeout_seconds
        self._recovery: asyncio.Task[None] | None = None
        self.failure: str | None = None
        self.draining = False
        self.canary_difference: float | None = None

    def not_ready_because(self) -> str | None:
        """Why no requests are taken, or None when they are."""
        return self.failure or (None if self._scheduler.batcher.alive else "the queue is not running")

    def require_admitting(self) -> None:
        """Raise a 503 when the service is not ready, or will stop listening within a second."""
        self.require_ready()
        if self.draining:
            raise ServiceError(NOT_READY, "the service is shutting down; try again", headers={"Retry-After": "5"})

    def require_ready(self) -> None:
        """Raise a 503 when the service shuts down or can no longer be trusted."""
        if (reason := self.not_ready_because()) is not None:
            raise ServiceError(NOT_READY, f"not ready: {reason}; try again later", headers={"Retry-After": "5"})

    async def check_canary(self) -> None:
        """Run the canary image through every session, then through the queue; a wrong answer sets the latch."""
        engine = self._scheduler.engine
        tolerance = engine.bundle.canary_tolerance(engine.variant.name)
        began = perf_counter()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                difference = await self._scheduler.batcher.call(engine.canary_difference)
                queued = await self._scheduler.batcher.submit(engine.canary_frame)
            self.canary_difference = max(difference, engine.difference_from_canary(queued))
        except TimeoutError:
            if self._scheduler.batcher.latest_began > began:
                log.warning("the canary image got no answer in time, other images did; it is tried again later")
            else:
                self.fail("the canary image got no answer in time")
        except Stopped:
            return  # the service is shutting down
        except CanaryError as error:
            self.fail(str(error))
        except Exception as error:  # whatever the cause, the canary was not answered
            log.exception("the canary image failed")
            self.fail(f"the canary image failed ({type(error).__name__})")
        else:
            self._metrics.canary_difference.set(self.canary_difference)
            if self.canary_difference > tolerance:
                self.fail(
                    f"the canary image's probabilities differ by {self.canary_difference:.2g} from the bundle's, "
                    f"{tolerance:.2g} is allowed"
                )
            elif self.failure is None:  # a right answer does not reset another failure
                self._metrics.canary_ok.set(1)

    def fail(self, reason: str) -> None:
        """Set the latch: answers of this process can no longer be trusted."""
        if self.failure is not None:
            return
        log.critical("%s; taking no more requests", reason)
        self.failure = reason
        self._metrics.ready.set(0)
        self._metrics.canary_ok.set(0)
        self._on_fatal(reason)

    def on_inference_failure(self, error: Exception) -> None:
        """Count an image that failed, and set the latch if the device failed.

        After running out of memory a session may or may not recover: the canary decides.
        """
        self._metrics.inference_errors.inc()
        log.error("inference failed: %s", error)
        if isinstance(error, DeviceError):
            self.fail(error.reason)
        elif isinstance(error, OutOfMemory) and (self._recovery is None or self._recovery.done()):
            self._recovery = asyncio.create_task(self.check_canary())

    async def shut_down(self) -> None:
        """Take no more requests."""
        self.failure = self.failure or "shutting down"
        self._metrics.ready.set(0)
        if self._recovery is not None:
            self._recovery.cancel()
            with suppress(asyncio.CancelledError):
                await self._recovery
