"""Who is to do what next: messages of Dramatiq, in the Redis of the jobs.

A message only says that something is to be done, never what came of it: that is in the job. So a message may come
twice, and one that is lost is sent again by :meth:`service.jobs.store.JobStore.remind`.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.common import dq_name

from service.jobs.job import ANNOUNCE, ANSWER, LIST, PREFIX, Handler

_NAMESPACE = f"{PREFIX}:queue"
# A worker that says nothing for this long is dead, and what it had in hand is given to others.
DEAD_SECONDS = 15.0
# The longest pause between two questions for messages; each is a write, for which Redis waits for its disk.
_POLL_SECONDS = 1.0


class Queue(RedisBroker):
    """The broker, on a client or in a pipeline, whose transaction then has the messages too.

    It does without Dramatiq's own retries: these lose a message that fails while Redis is away.
    """

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            client=client,
            middleware=[],
            namespace=_NAMESPACE,
            maintenance_chance=1_000_000,  # of a million
            heartbeat_timeout=round(DEAD_SECONDS * 1000),
        )
        self.broker_id = "sender"  # one for all: each that took nothing for a while is looked for among all keys
        self.is_broken = False
        self._consumed: set[str] = set()

    def _max_unpack_size(self) -> int:  # otherwise asked of Redis, which a pipeline cannot do
        return 2000

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Any:
        """As the broker does. When it is asked again, a connection was lost, and with it perhaps messages that Redis
        holds for this broker: they come back once the broker is given up."""
        self.is_broken |= queue_name in self._consumed
        self._consumed.add(queue_name)
        return super().consume(queue_name, prefetch, timeout)

    def add(self, what: str, *args: Any, seconds: float | None = None) -> None:
        """Have ``what`` done, or only after so many seconds."""
        message: Any = dramatiq.Message(queue_name=what, actor_name=what, args=args, kwargs={}, options={})
        self.enqueue(message, delay=None if seconds is None else round(seconds * 1000))

    def waiting(self) -> set[tuple[Any, ...]]:
        """What all messages ask for, with its arguments: also those in hand and delayed ones, all at one moment, for a
        message moves between them."""
        with self.client.pipeline() as pipe:
            for what in (ANSWER, LIST, ANNOUNCE):
                for name in (what, dq_name(what)):
                    pipe.hvals(f"{_NAMESPACE}:{name}.msgs")
            messages = [dramatiq.Message.decode(data) for found in pipe.execute() for data in found]
        return {(each.actor_name, *each.args) for each in messages}


class Consumer:
    """Has ``handlers`` do on the running event loop what messages ask for, several at once.

    A ``client`` that repeats what it asks would not notice that a reply was lost.
    """

    def __init__(self, client: redis.Redis, handlers: Mapping[str, Handler], *, at_once: int) -> None:
        self.queue = Queue(client)
        self.queue.broker_id = secrets.token_hex(16)
        loop = asyncio.get_running_loop()
        for what, handler in handlers.items():
            act = _acting(loop, handler)
            dramatiq.actor(actor_name=what, queue_name=what, broker=self.queue)(act)
        self._worker = dramatiq.Worker(self.queue, worker_threads=at_once, worker_timeout=round(_POLL_SECONDS * 1000))
        self._worker.start()

    @property
    def works(self) -> bool:
        """False: start another one."""
        return not self.queue.is_broken and all(each.is_alive() for each in self._worker.consumers.values())

    def stop(self, seconds: float) -> None:
        """Return after what is in hand, or after so many seconds; the rest is given back."""
        self._worker.stop(timeout=round(seconds * 1000))


def _acting(loop: asyncio.AbstractEventLoop, handler: Handler) -> Callable[..., None]:
    def act(*args: Any) -> None:
        try:
            asyncio.run_coroutine_threadsafe(handler(*args), loop).result()
        except BaseException:
            # Handlers fail only where the process ends. A message whose actor ends, however it ends, is confirmed: so
            # this one does not end.
            threading.Event().wait()

    return act
