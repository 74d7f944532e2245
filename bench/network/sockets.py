"""The sockets of a relay's two ends: buffers so small that what waits does so in the link's own queue, and not in the
kernel's beside it, where nobody would count it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from bench.network.carrier import Carrier

LEAST_KERNEL_BYTES = 16 << 10
"""Send and receive buffers of our sockets (Linux doubles them), or two pieces: what waits shall wait in our queue."""
SEGMENT_BYTES = 1460
"""Of Ethernet."""
Connect = Callable[[Callable[[], asyncio.BaseProtocol]], Awaitable[object]]
"""Opens the far end with a protocol of this making. Raises OSError or TimeoutError."""


def kernel_bytes(carrier: Carrier) -> int:
    """For sockets beside this carrier."""
    return max(LEAST_KERNEL_BYTES, 2 * carrier.piece_bytes)


def listening(host: str, port: int, buffer_bytes: int) -> socket.socket:
    """A listener whose connections have such buffers. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _prepare(listener, buffer_bytes)
        listener.bind(address)
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def to_address(host: str, port: int, buffer_bytes: int) -> Connect:
    """Connects there over this machine's own network, to the first of its addresses that answers."""

    async def connect(make: Callable[[], asyncio.BaseProtocol]) -> object:
        loop = asyncio.get_running_loop()
        refusal: OSError | None = None
        for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            end = socket.socket(family, kind, protocol)
            try:
                _prepare(end, buffer_bytes)
                await loop.sock_connect(end, address)
                return await loop.create_connection(make, sock=end)
            except OSError as error:
                refusal = error
                end.close()
            except BaseException:
                end.close()
                raise
        raise refusal or OSError(f"{host} has no address")

    return connect


def _prepare(end: socket.socket, buffer_bytes: int) -> None:
    """Before it listens or connects, since the window's scale follows from the buffer."""
    end.setblocking(False)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        end.setsockopt(socket.SOL_SOCKET, buffer, buffer_bytes)
    # A window is not opened by less than a segment (RFC 9293 3.8.6.2.2), and loopback's segments of 64 kB are longer
    # than such a buffer: each time it ran full, the sender would wait for its persist timer.
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
