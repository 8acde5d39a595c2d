"""A service on this thread's event loop, whose network can be kept busy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from service.app import create_app
from service.bundle import Bundle
from service.inference.batching import Batcher
from service.runtime import Service
from service.settings import Settings

Scenario = Callable[[httpx.AsyncClient, Service], Awaitable[None]]


@asynccontextmanager
async def running(
    bundle: Bundle, on_fatal: Callable[[str], None] = lambda reason: None, **settings: Any
) -> AsyncIterator[FastAPI]:
    """A service that takes requests; its object graph is ``app.state.service``."""
    chosen = Settings(bundle=bundle.folder, provider="cpu", inference_threads=1, **settings)
    app = create_app(chosen, on_fatal)
    async with app.router.lifespan_context(app):
        await _queue_as_for_a_gpu(app.state.service)
        yield app


async def _queue_as_for_a_gpu(service: Service) -> None:
    """One thread runs the network, while images are decoded; on a CPU both would share the cores."""
    settings = service.settings
    await service.scheduler.batcher.stop()
    service.scheduler.batcher = Batcher(
        service.scheduler.engine.run,
        max_batch=settings.effective_max_batch("cpu"),
        on_batch=service.metrics.batch_size.observe,
        on_failure=service.health.on_inference_failure,
    )
    service.scheduler.batcher.start()


def client_of(app: FastAPI) -> httpx.AsyncClient:
    """A client that calls the app directly."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://cin")


def play(scenario: Scenario, bundle: Bundle, **settings: Any) -> None:
    """Play a scenario with a client and the object graph of a service."""

    async def played() -> None:
        async with asyncio.timeout(15), running(bundle, **settings) as app, client_of(app) as client:
            await scenario(client, app.state.service)

    asyncio.run(played())


@asynccontextmanager
async def held(service: Service) -> AsyncIterator[None]:
    """Keep the thread that owns the session busy."""
    gate = threading.Event()
    busy = asyncio.ensure_future(service.scheduler.batcher.call(gate.wait))
    try:
        yield
    finally:
        gate.set()
        await busy


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until the condition holds."""
    while not condition():
        await asyncio.sleep(0.002)
