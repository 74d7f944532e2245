"""A worker's HTTP server on a real port, with a backend that does as a test says.

async with serving(FakeBackend(ANSWER)) as served:
    async with served.session.post("/inference/m", data=b"picture") as answer: ...
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from edge_worker.admission import Admission
from edge_worker.backends.base import Answer
from edge_worker.exchange_runner import ExchangeRunner
from edge_worker.http.exchanges import Exchanges
from edge_worker.http.inference import Inference
from edge_worker.http.readiness import Readiness
from edge_worker.http.server import HttpServer, build_app, listen
from tests.support.fake_backend import FakeBackend

ANSWER = Answer(b'{"model":"m","predictions":[]}', durations_s={"decode": 0.001, "inference": 0.02})
MAX_BODY_BYTES = 1000


@dataclass
class Served:
    """A running server and a client for it."""

    server: HttpServer
    session: aiohttp.ClientSession
    inference: Inference
    backend: FakeBackend

    async def talk(self, *parts: bytes) -> bytes:
        """Sends bytes over a connection of its own and reads until the server closes it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    backend: FakeBackend, *, slots: int = 1, max_waiting: int = 4, clock: Callable[[], float] | None = None
) -> AsyncIterator[Served]:
    """`clock` is that of deadlines and of what is fresh; by default the event loop's."""
    clock = clock or asyncio.get_running_loop().time
    admissions = {
        model.name: Admission(slots, max_waiting=max_waiting) for model in backend.models if not model.failure
    }
    runner = ExchangeRunner(backend, admissions, clock)
    readiness = Readiness(runner, backend.models, clock)
    inference = Inference(runner, backend.models, MAX_BODY_BYTES, clock)
    exchanges = Exchanges(inference, runner, backend.models, clock)
    server = await listen(build_app(inference, readiness, exchanges), "127.0.0.1", 0, None)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
            yield Served(server, session, inference, backend)
    finally:
        await server.close()


async def until(condition: Callable[[], object]) -> None:
    """Lets the event loop, which both ends share, turn until the condition holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)
