"""A tunnel as light as one can be: real TLS, a real WebSocket, the wire protocol, and nothing to infer with.

Thousands of them fit into a few processes, without what makes a worker heavy: tasks, queues, a library's connection.
Answers each probe at once, and nothing else: nobody sends these workers a job.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import struct
import time
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

from wire import SUBPROTOCOL, events
from wire.errors import CloseCode
from wire.frames import Hello, ResponseHead
from wire.limits import Limits
from wire.session import Role, Session

MAX_HEAD_BYTES = 16 << 10
"""Bytes of the gateway's answer to the upgrade."""
PROBE_US = 5000
"""What a probe is said to have taken."""
BINARY, CLOSE = 0x82, 0x88
"""First byte of a frame that is whole (RFC 6455 5.2)."""


class Refused(Exception):
    """The gateway did not upgrade; `retry_after_s` as it said."""

    def __init__(self, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Tunnel(asyncio.Protocol):
    """One connection, from the upgrade to its end."""

    __slots__ = ("_buffer", "_hello", "_limits", "_on_ready", "_request", "_session", "_transport", "ended", "upgraded")

    def __init__(self, request: bytes, hello: Hello, limits: Limits, on_ready: Callable[[], None]) -> None:
        """`on_ready` is called when the first probe was answered."""
        self._request = request
        self._hello = hello
        self._limits = limits
        self._on_ready: Callable[[], None] | None = on_ready
        self._buffer = bytearray()
        self._session: Session | None = None
        self.upgraded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Raises Refused."""
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """How it ended."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is up."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, and does not say so
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Bytes of the upgrade's answer or of frames."""
        self._buffer += data
        if self._session is None and not self._take_head():
            return
        while (message := self._take_message()) is not None:
            self._received(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """However."""
        text = f"the connection was cut: {exc or 'end of file'}"
        self._refuse(Refused(text))
        if not self.ended.done():
            self.ended.set_result(text)

    def tick(self, now: float) -> None:
        """To be called every second or so: ends a tunnel whose gateway is silent."""
        if self._session is not None:
            due = self._session.next_tick()
            if due is not None and now >= due:
                self._session.tick(now)
                self._flush(now)

    def abort(self) -> None:
        """Without a goodbye."""
        self._transport.abort()

    def _take_head(self) -> bool:
        """Whether the upgrade was answered, and well."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                self._transport.abort()
            return False
        head = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        if " 101 " not in head[0]:
            self._refuse(Refused(head[0], _retry_after_s(head)))
            self._transport.abort()
            return False
        now = time.monotonic()
        self._session = Session(Role.WORKER, self._limits, now)
        self._session.hello(self._hello)
        self.upgraded.set_result(None)
        self._flush(now)
        return True

    def _refuse(self, why: Refused) -> None:
        if not self.upgraded.done():
            self.upgraded.set_exception(why)
            self.upgraded.exception()  # also when the dial's time was over already and nobody asks any more

    def _take_message(self) -> bytes | None:
        """The next whole message; control frames of WebSocket are left out, but for the close."""
        while (found := _frame(self._buffer)) is not None:
            opcode, start, end = found
            message = bytes(memoryview(self._buffer)[start:end])
            del self._buffer[:end]
            if opcode == BINARY:
                return message
            if opcode == CLOSE:
                self._transport.abort()
        return None

    def _received(self, message: bytes) -> None:
        session, now = self._session, time.monotonic()
        assert session is not None
        session.receive(message, now)
        for event in session.take_events():
            match event:
                case events.RequestReceived():
                    head = ResponseHead(200, body_bytes=0, durations_us=(("inference", PROBE_US),))
                    session.respond(event.exchange, head, end=True)
                    self._was_probed()
                case events.SessionEnded():
                    self._over(event)
        self._flush(now)

    def _was_probed(self) -> None:
        if self._on_ready is not None:
            on_ready, self._on_ready = self._on_ready, None
            on_ready()

    def _over(self, event: events.SessionEnded) -> None:
        if not self.ended.done():
            self.ended.set_result(f"{CloseCode(event.code).name.lower()}: {event.text}")
        self._transport.abort()

    def _flush(self, now: float) -> None:
        session = self._session
        assert session is not None
        while (message := session.next_message(now)) is not None:
            self._transport.write(_masked(message))
        for event in session.take_events():
            if isinstance(event, events.SessionEnded):
                self._over(event)


def upgrade_of(url: str, token: str) -> bytes:
    """The request that opens a tunnel."""
    parts = urlsplit(url)
    lines = (
        f"GET {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==",
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
        f"Authorization: Bearer {token}",
    )
    return "\r\n".join((*lines, "", "")).encode("latin-1")


async def open_tunnel(url: str, tls: ssl.SSLContext, make: Callable[[], Tunnel], timeout_s: float) -> Tunnel:
    """Connects and upgrades. Raises Refused, OSError or TimeoutError."""
    parts = urlsplit(url)
    tunnel: Tunnel | None = None
    try:
        async with asyncio.timeout(timeout_s):
            _, tunnel = await asyncio.get_running_loop().create_connection(
                make, "127.0.0.1", parts.port or 443, ssl=tls, server_hostname=parts.hostname
            )
            await tunnel.upgraded
    except TimeoutError:
        if tunnel is not None:
            tunnel.abort()
        raise
    return tunnel


def _frame(buffer: bytearray) -> tuple[int, int, int] | None:
    """First byte, begin and end of the payload of the frame at the head; None when it is not whole."""
    if len(buffer) < 2:
        return None
    start, size = 2, buffer[1] & 0x7F
    if size >= 126:
        start = 4 if size == 126 else 10
        if len(buffer) < start:
            return None
        size = int.from_bytes(buffer[2:start], "big")
    return (buffer[0], start, start + size) if len(buffer) >= start + size else None


def _masked(message: bytes) -> bytes:
    """One binary frame of a client (RFC 6455 5.3)."""
    size = len(message)
    key = os.urandom(4)
    pad = (key * (size // 4 + 1))[:size]
    payload = (int.from_bytes(message, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")
    if size < 126:
        head = struct.pack("!BB", BINARY, 0x80 | size)
    else:
        head = struct.pack("!BBH", BINARY, 0x80 | 126, size) if size < 1 << 16 else _long_head(size)
    return head + key + payload


def _long_head(size: int) -> bytes:
    return struct.pack("!BBQ", BINARY, 0x80 | 127, size)


def _retry_after_s(head: list[str]) -> float | None:
    for line in head[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "retry-after" and value.strip().isdigit():
            return float(value)
    return None
