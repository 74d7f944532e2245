"""The HTTP side on a real port, with a dispatcher and an authenticator that do as a test says.

async with serving(FakeDispatcher()) as served:
    async with served.session.post("/inference/digits", data=b"picture") as answer: ...
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import aiohttp

from gateway.auth import Reason, TokenRefused
from gateway.config import Config
from gateway.dispatch.model import Job, ModelOffer, Reply, Timing
from gateway.errors import Draining, Forbidden
from gateway.http.routes import Tunnel, build_app
from gateway.http.server import HttpServer, serve
from gateway.metrics import Metrics

TOKEN = "good-token"
ADMIN_TOKEN = "admin-token"
LABELS = b'{"model":"digits","version":"1","predictions":[{"label":"7","probability":0.9}]}'
STEPS_S = {"worker_queue": 0.001, "decode": 0.002, "preprocess": 0.003, "inference": 0.004, "postprocess": 0.005}


@dataclass(eq=False)
class FakeDispatcher:
    """Reads each body to its end and answers LABELS, unless told to fail, to wait, or to answer something else."""

    models: dict[str, int] = field(default_factory=lambda: {"digits": 2})
    offers: dict[str, ModelOffer] = field(default_factory=lambda: {"digits": ModelOffer("digits", "1", 2)})
    is_draining: bool = False
    in_flight: int = 3
    answers: dict[bytes, bytes | Exception] = field(default_factory=dict)
    """By the body's bytes: what the worker answers, or what is raised."""
    error: Exception | None = None
    """Raised for every job, before its body is read."""
    status: int = 200
    reads_bodies: bool = True
    """False: answers without waiting for the body, as a worker may whom the first bytes tell enough."""
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at first: clear it to keep jobs waiting for their answer."""
    jobs: list[Job] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    pieces: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    """Every piece of every body, as it reached the worker."""
    started: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    """One for each job that began."""
    cancelled: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    """One for each job whose caller left before its answer."""
    open_requests: int = 0
    running: int = 0
    most_running: int = 0

    def __post_init__(self) -> None:
        self.may_answer.set()

    @contextmanager
    def open_request(self) -> Iterator[None]:
        if self.is_draining:
            raise Draining("going away", retry_after_s=1.0)
        self.open_requests += 1
        try:
            yield
        finally:
            self.open_requests -= 1

    @asynccontextmanager
    async def exchange(self, job: Job) -> AsyncIterator[Reply]:
        self.jobs.append(job)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.started.release()
        try:
            yield await self._reply(job)
        except asyncio.CancelledError:
            self.cancelled.release()
            raise
        finally:
            self.running -= 1

    async def _reply(self, job: Job) -> Reply:
        if self.error is not None:
            raise self.error
        body = b""
        async for piece in job.body.chunks():
            if not self.reads_bodies:
                break
            self.pieces.put_nowait(piece)
            body += piece
        self.bodies.append(body)
        await self.may_answer.wait()
        answer = self.answers.get(body, LABELS)
        if isinstance(answer, Exception):
            raise answer
        timing = Timing(queue_s=0.01, upload_s=0.02, tunnel_out_s=0.03, worker_s=dict(STEPS_S), tunnel_back_s=0.06)
        timing.worker = "w1"
        return Reply(self.status, (), _once(answer), timing)

    def queued(self, model: str) -> int:
        return len(model)

    def offer(self, model: str, worker: str = "") -> ModelOffer | None:
        return self.offers.get(model)

    def versions(self, model: str) -> Sequence[str]:
        offer = self.offers.get(model)
        return [] if offer is None else [offer.version]

    def workers_view(self) -> Sequence[Mapping[str, object]]:
        model = {"model": "digits", "version": "1", "state": "ready", "answered": 7}
        return [
            {
                "worker": "w1",
                "rtt_ms": 20.5,
                "draining": False,
                "about": {"address": "192.0.2.9"},
                "models": [model],
            }
        ]


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


@dataclass(frozen=True)
class FakePrincipal:
    subject: str = "alice"
    is_admin: bool = False

    def require_infer(self, model: str) -> None:
        if model == "secret":
            raise Forbidden("this token may not use model secret")


class FakeAuthenticator:
    def authenticate(self, authorization_header: str | None) -> FakePrincipal:
        if authorization_header not in (f"Bearer {TOKEN}", f"Bearer {ADMIN_TOKEN}"):
            raise TokenRefused(Reason.MISSING, "a token is needed")
        return FakePrincipal(is_admin=authorization_header.endswith(ADMIN_TOKEN))


@dataclass
class Served:
    """A running gateway and a client for it, whose requests carry the token."""

    server: HttpServer
    session: aiohttp.ClientSession
    metrics: Metrics
    dispatcher: FakeDispatcher

    @property
    def port(self) -> int:
        return self.server.port

    async def talk(self, *parts: bytes) -> bytes:
        """Sends bytes over a connection of its own and reads until the gateway closes it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            return await reader.read()
        finally:
            writer.close()


async def turns(count: int = 10) -> None:
    """Lets the event loop, which both ends share, look at its sockets so often: what was written is then received."""
    for _ in range(count):
        await asyncio.sleep(0)


@asynccontextmanager
async def serving(
    dispatcher: FakeDispatcher,
    config: Mapping[str, Mapping[str, object]] | None = None,
    tunnel: Tunnel | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[Served]:
    """`config` by section and field; the rest has its defaults."""
    settings = Config.model_validate(config or {})
    metrics = Metrics()
    app = build_app(dispatcher, FakeAuthenticator(), metrics, settings, tunnel=tunnel)
    server = await serve(
        app, "127.0.0.1", 0, limits=settings.limits, metrics=metrics, ssl_context=ssl_context, grace_s=0.0
    )
    headers = {"Authorization": f"Bearer {TOKEN}"}
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}", headers=headers) as session:
            yield Served(server, session, metrics, dispatcher)
    finally:
        await server.close()
