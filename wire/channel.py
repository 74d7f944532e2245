"""What a tunnel needs from a connection: whole messages, in order, either way.

Implemented twice over real WebSockets (gateway/tunnel/channel.py, edge_worker/channel.py) and once in memory for tests.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Protocol

from .errors import RemoteProtocolError
from .frames import Buffer
from .limits import KIB

NOTSENT_LOWAT_BYTES = 128 * KIB
"""Bytes that may wait in our own kernel before the socket stops taking more: a control frame waits behind them."""

WRITE_BUFFER_BYTES = 128 * KIB
"""Bytes in this process's own buffer above which sending waits: a control frame waits behind them too."""

CLOSE_TIMEOUT_S = 2.0
"""Seconds that a close may take when the peer does not answer it."""

_TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)  # named in Python from 3.12 on; 25 is Linux's number


class ChannelClosed(Exception):
    """The connection is gone; the text says how."""


class Receiver(Protocol):
    """Who hears from a channel, in order."""

    def message_received(self, message: Buffer) -> None:
        """The next message. Never raises."""

    def room_made(self) -> None:
        """`send` said that the transport was full, and it takes more again. Never raises."""

    def channel_closed(self, error: ChannelClosed | RemoteProtocolError) -> None:
        """Nothing more comes: the connection is gone, or what came was no binary message. Never raises."""


class Channel(Protocol):
    """A message connection. It calls its receiver and is called by it: no task waits on either side of a message."""

    def attach(self, receiver: Receiver) -> None:
        """Tells `receiver` of all that came and comes. Once, at the beginning."""

    def send(self, message: bytes) -> bool:
        """Sends one message, which is never refused. False: the transport is full now, and the next should wait for
        `room_made`. Raises ChannelClosed. Calls nobody back before it returns."""

    async def close(self, code: int, reason: str) -> None:
        """Closes with a WebSocket close code and at most 123 bytes of reason, within a bounded time."""


def close_reason(text: str) -> str:
    """`text`, cut to what fits a close frame: 125 bytes less the code (RFC 6455 5.5)."""
    return text.encode()[:123].decode("utf-8", "ignore")


def bound_unsent(connection: socket.socket) -> None:
    """Keeps little unsent data in this machine's kernel, where that can be set."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)
