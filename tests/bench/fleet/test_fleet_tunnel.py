"""The light tunnel speaks WebSocket and the wire protocol as a real worker does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from bench.fleet.tunnel import Refused, Tunnel, upgrade_of
from wire import VERSION, events
from wire.frames import Hello, Model, RequestHead
from wire.limits import Limits
from wire.session import Role, Session

SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
HELLO = Hello((VERSION,), "w", 1, 0, "test", (Model("m", "1", 1),), Limits().max_exchanges, Limits().window_bytes)


class Wire(asyncio.Transport):
    """Keeps what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def abort(self) -> None:
        self.is_aborted = True


class Gateway:
    """The other end, by hand."""

    def __init__(self) -> None:
        self.session = Session(Role.GATEWAY, Limits(), time.monotonic())
        self.wire = Wire()
        self.ready = 0
        self.tunnel = Tunnel(b"upgrade", HELLO, Limits(), self._is_ready)
        self.tunnel.connection_made(self.wire)

    def _is_ready(self) -> None:
        self.ready += 1

    def exchange(self) -> list[events.Event]:
        """All that each has to say."""
        seen: list[events.Event] = []
        for message in unmasked(self.wire.written.removeprefix(b"upgrade")):
            self.session.receive(message, time.monotonic())
            seen += self.session.take_events()
        self.wire.written = b""
        while (message := self.session.next_message(time.monotonic())) is not None:
            self.tunnel.data_received(frame(message))
        return seen

    def welcome(self) -> None:
        self.tunnel.data_received(SWITCHED)
        self.exchange()
        self.session.welcome("s", "g", 60.0)
        self.exchange()


def frame(message: bytes) -> bytes:
    """As a server sends it."""
    size = len(message)
    return bytes([0x82, size]) + message if size < 126 else b"\x82\x7e" + size.to_bytes(2, "big") + message


def unmasked(data: bytes) -> Iterator[bytes]:
    """The messages of a client's frames."""
    while data:
        assert data[0] == 0x82
        assert data[1] & 0x80
        size, start = data[1] & 0x7F, 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
        key, payload = data[start : start + 4], data[start + 4 : start + 4 + size]
        yield bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))
        data = data[start + 4 + size :]


async def test_it_introduces_itself_and_answers_a_probe() -> None:
    """The gateway hears HELLO and an answer of 200; the worker is ready once."""
    gateway = Gateway()
    gateway.tunnel.data_received(SWITCHED)
    assert [type(event) for event in gateway.exchange()] == [events.HelloReceived]
    gateway.session.welcome("s", "g", 60.0)
    gateway.exchange()
    for _ in range(2):
        gateway.session.open_exchange(RequestHead("PROBE", "/", model="m"), time.monotonic(), end=True)
        gateway.exchange()
        answers = [event for event in gateway.exchange() if isinstance(event, events.ResponseReceived)]
        assert [answer.head.status for answer in answers] == [200]
    assert gateway.ready == 1


async def test_pieces_of_frames_are_put_together() -> None:
    """A byte at a time is as good as all at once."""
    gateway = Gateway()
    gateway.tunnel.data_received(SWITCHED)
    gateway.exchange()
    gateway.session.welcome("s", "g", 60.0)
    message = gateway.session.next_message(time.monotonic())
    assert message is not None
    for byte in frame(message):
        gateway.tunnel.data_received(bytes([byte]))
    gateway.session.drain(1.0, "leaving")  # a PING, which the worker answers only when it is open
    gateway.exchange()
    assert any(isinstance(event, events.RoundTripMeasured) for event in gateway.exchange())


async def test_a_refusal_says_when_to_come_back() -> None:
    """Any status but 101 is one, with Retry-After or without."""
    gateway = Gateway()
    gateway.tunnel.data_received(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\n\r\n{}")
    with pytest.raises(Refused, match="503") as refused:
        await gateway.tunnel.upgraded
    assert refused.value.retry_after_s == 7
    assert gateway.wire.is_aborted


async def test_it_says_how_it_ended() -> None:
    """A goodbye of the gateway, a cut, and a gateway that says nothing any more."""
    polite, cut, silent = Gateway(), Gateway(), Gateway()
    for gateway in (polite, cut, silent):
        gateway.welcome()
    polite.session.channel_closed("")
    polite.tunnel.data_received(b"\x88\x00")
    assert polite.wire.is_aborted
    cut.tunnel.connection_lost(None)
    assert "cut" in await cut.tunnel.ended
    silent.tunnel.tick(time.monotonic() + Limits().silence_s + 1)
    assert "nothing heard" in await silent.tunnel.ended


def test_the_upgrade_carries_the_token() -> None:
    """Path, host and token are where the gateway reads them."""
    request = upgrade_of("wss://localhost:1234/v1/tunnel", "abc")
    assert request.startswith(b"GET /v1/tunnel HTTP/1.1\r\nHost: localhost:1234\r\n")
    assert b"\r\nAuthorization: Bearer abc\r\n" in request
    assert request.endswith(b"\r\n\r\n")
