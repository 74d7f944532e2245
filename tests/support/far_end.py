"""The other end of a tunnel, played by a test: a real session and pump over a memory channel.

`run_bounded` runs a test on a loop whose clock jumps; what has not happened after an hour of that time never will.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tests.support.memory_channel import MemoryChannel, run_jumping
from wire.events import (
    BodyEnded,
    BodyReceived,
    Event,
    ExchangeFailed,
    HelloReceived,
    RequestReceived,
    ResponseReceived,
    SessionEnded,
)
from wire.frames import Hello, RequestHead, ResponseHead
from wire.limits import Limits
from wire.pump import Pump
from wire.session import Role, Session

E = TypeVar("E")

NEVER_S = 3700.0


def run_bounded(main: Callable[[], Awaitable[None]]) -> None:
    """`run_jumping`, for tests with heartbeats, whose loop always has something to do. Wait by `sleep` or `wait`, never
    by `sleep(0)` in a loop: that takes no time."""

    async def bounded() -> None:
        async with asyncio.timeout(NEVER_S):
            await main()

    run_jumping(bounded)


async def until(condition: Callable[[], object]) -> None:
    """Waits, in steps of a millisecond, until `condition` holds."""
    while not condition():
        await asyncio.sleep(0.001)


class FarEnd:
    """What came is in `told`; bodies are collected by exchange, and consumed as they come unless `is_greedy` is off."""

    def __init__(
        self, role: Role, channel: MemoryChannel, limits: Limits | None = None, clock_ahead_s: float = 0.0
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock_ahead_s = clock_ahead_s
        self.channel = channel
        self.session = Session(role, limits or Limits(), self.now())
        self.told: list[Event] = []
        self.bodies: dict[int, bytes] = {}
        self.is_greedy = True
        self.pump = Pump(self.session, channel, self._on_event, self.now)
        self._news = asyncio.Event()
        self._run: asyncio.Task[SessionEnded] | None = None

    def now(self) -> float:
        """This end's own clock, which need not agree with the other's."""
        return self.loop.time() + self.clock_ahead_s

    def start(self) -> None:
        self._run = asyncio.create_task(self.pump.run())

    async def ended(self) -> SessionEnded:
        assert self._run is not None
        return await self._run

    def wake(self) -> None:
        self.pump.wake()

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.told if isinstance(event, kind)]

    async def wait(self, kind: type[E], count: int = 1, **fields: Any) -> E:
        """The `count`-th event of this class with these fields."""
        while True:
            found = [e for e in self.all(kind) if all(getattr(e, name) == value for name, value in fields.items())]
            if len(found) >= count:
                return found[count - 1]
            self._news.clear()
            await self._news.wait()

    def _on_event(self, event: Event) -> None:
        self.told.append(event)
        if isinstance(event, BodyReceived):
            self.bodies[event.exchange] = self.bodies.get(event.exchange, b"") + bytes(event.data)
            if self.is_greedy:
                self.session.consume(event.exchange, len(event.data), self.now())
        self._news.set()


class FarGateway(FarEnd):
    """A gateway that asks a worker."""

    def __init__(self, channel: MemoryChannel, limits: Limits | None = None, *, expires_in_s: float = 0.0) -> None:
        super().__init__(Role.GATEWAY, channel, limits)
        self._expires_in_s = expires_in_s

    async def let_in(self) -> Hello:
        """Starts, and welcomes the worker that introduces itself."""
        self.start()
        hello = (await self.wait(HelloReceived)).hello
        self.session.welcome("session-1", "gateway-1", self._expires_in_s)
        self.wake()
        return hello

    def ask(self, body: bytes = b"picture", *, model: str = "m", is_whole: bool = True, **head: Any) -> int:
        """Opens an exchange; returns its number."""
        number = self.session.open_exchange(RequestHead("POST", "/", model=model, **head), self.now())
        self.session.send_body(number, body, end=is_whole)
        self.wake()
        return number

    async def answer(self, exchange: int) -> tuple[ResponseHead, bytes]:
        """Head and body of the answer."""
        await self.wait(BodyEnded, exchange=exchange)
        return (await self.wait(ResponseReceived, exchange=exchange)).head, self.bodies.get(exchange, b"")

    async def failure(self, exchange: int) -> ExchangeFailed:
        return await self.wait(ExchangeFailed, exchange=exchange)


class FarWorker(FarEnd):
    """A worker that answers a gateway."""

    def __init__(self, channel: MemoryChannel, clock_ahead_s: float = 0.0) -> None:
        super().__init__(Role.WORKER, channel, clock_ahead_s=clock_ahead_s)

    def introduce(self, hello: Hello) -> None:
        self.start()
        self.session.hello(hello)
        self.wake()

    async def request(self, count: int = 1) -> int:
        """The number of the `count`-th exchange, once its head is here."""
        return (await self.wait(RequestReceived, count)).exchange

    async def whole_request(self, count: int = 1) -> int:
        """The same, once its body is here too."""
        number = await self.request(count)
        await self.wait(BodyEnded, exchange=number)
        return number

    def answer(self, exchange: int, body: bytes = b"{}", *, is_whole: bool = True, **head: Any) -> None:
        fields = {"status": 200, "body_bytes": len(body) if is_whole else None} | head
        self.session.respond(exchange, ResponseHead(**fields))
        self.session.send_body(exchange, body, end=is_whole)
        self.wake()
