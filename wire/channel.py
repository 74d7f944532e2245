"""What a tunnel needs from a connection: whole messages, in order, either way.

Implemented twice over real WebSockets (gateway/tunnel/channel.py, edge_worker/dialer.py) and once in memory for tests.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Protocol

NOTSENT_LOWAT_BYTES = 128 << 10
"""Bytes that may wait in our own kernel before the socket stops taking more: a control frame waits behind them."""

_TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)  # named in Python from 3.12 on; 25 is Linux's number


class ChannelClosed(Exception):
    """The connection is gone; the text says how."""


class Channel(Protocol):
    """A message connection. One task sends, one receives."""

    async def send(self, message: bytes) -> None:
        """Sends one message, waiting while the transport is full. Raises ChannelClosed."""

    async def receive(self) -> bytes:
        """The next message. Raises ChannelClosed, and RemoteProtocolError for one that is not binary."""

    async def close(self, code: int, reason: str) -> None:
        """Closes with a WebSocket close code and at most 123 bytes of reason, within a bounded time."""


def close_reason(text: str) -> str:
    """`text`, cut to what fits a close frame: 125 bytes less the code (RFC 6455 5.5)."""
    return text.encode()[:123].decode("utf-8", "ignore")


def bound_unsent(connection: socket.socket) -> None:
    """Keeps little unsent data in this machine's kernel, where that can be set."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)
