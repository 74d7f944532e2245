"""The other end of a tunnel, played by a test: a real session and pump over a memory channel.

Runs in a JumpingLoop (tests/support/memory_channel.py): `wait` fails when what it waits for can no longer come.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from tests.support.memory_channel import MemoryChannel
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


class FarEnd:
    """What came is in `told`; bodies are collected by exchange, and consumed as they come unless `is_greedy` is off."""

    def __init__(self, role: Role, channel: MemoryChannel, limits: Limits | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.channel = channel
        self.session = Session(role, limits or Limits(), self.now())
        self.told: list[Event] = []
        self.bodies: dict[int, bytes] = {}
        self.is_greedy = True
        self.clock_ahead_s = 0.0
        self.pump = Pump(self.session, channel, self._on_event, self.now)
        self._news = asyncio.Event()
        self._run: asyncio.Task[SessionEnded] | None = None

    def now(self) -> float:
        """This end's own clock, which need not agree with the other's."""
        return self.loop.time() + getattr(self, "clock_ahead_s", 0.0)

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

    def __init__(self, channel: MemoryChannel, limits: Limits | None = None) -> None:
        super().__init__(Role.WORKER, channel, limits)

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
