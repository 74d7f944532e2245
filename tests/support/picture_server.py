"""A server of pictures in the test's event loop, and a client of it whose waits take no time."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from gateway.client import AsyncClient, Bounds
from gateway.client.retry import Patience

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
CAT = {"model": "m", "worker": "w1", "predictions": [{"index": 1, "label": "cat", "probability": 0.75}]}


@dataclass
class VirtualClock:
    """Fits `gateway.client.retry.Clock`: only sleeping makes time pass."""

    time: float = 1000.0
    sleeps: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.time += seconds


@contextlib.asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """The address of a server that has this for every path."""
    app = web.Application()
    app.router.add_post("/{path:.*}", handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def client_of(handler: Handler, bounds: Bounds | None = None) -> AsyncIterator[AsyncClient]:
    """A client that knows its server already, and waits in virtual time."""
    patience = Patience(bounds or Bounds(), VirtualClock(), random.Random(1))
    async with served(handler) as url, AsyncClient(url, token="secret", retry=patience) as made:
        yield made


def answering(answer: object, status: int = 200, **headers: str) -> Handler:
    async def handle(_request: web.Request) -> web.Response:
        return web.json_response(answer, status=status, headers=headers)

    return handle
