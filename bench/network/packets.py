"""Real TCP over a bad link: IP packets between two TUN devices in two namespaces, each delayed, queued or lost.

    caller -> hop -> [namespace: TCP] -> packets through two carriers -> [namespace: TCP] -> hop -> target

Each connection crosses the middle as a TCP connection of the kernel's, so that loss, slow start, repetition and
congestion control are real. A queue that is full drops, as a router's does. What a hop adds is a copy each way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

from bench.errors import BenchError
from bench.network.carrier import DelayingCarrier, StraightCarrier
from bench.network.command import Request, carriers, open_listener
from bench.network.namespace import Namespace
from bench.network.relay import Relay
from bench.network.sockets import Connect, to_address
from bench.network.tally import Tally

NEAR, FAR = "198.18.0.1", "198.18.0.2"
"""Of the range for measurements (RFC 2544); they exist in the two namespaces only."""
MTU_BYTES = 1500
HOP_BYTES = 64 << 10
"""Buffers beside the callers and the target, so that what waits for the link waits in TCP's own queue."""
PACKETS_A_TURN = 64
"""Read at once: others get their turn."""


@contextlib.asynccontextmanager
async def packet_relay(request: Request, tally: Tally) -> AsyncIterator[int]:
    """Relays TCP connections over the link within the block; the port it listens on. Raises BenchError, NoPackets."""
    with Namespace(NEAR, FAR) as near, Namespace(FAR, NEAR) as far:
        inner = far.run(partial(_listening, request.congestion))
        outer = _outer_listener(request, inner)
        async with carriers(request.profile, request.seed, tally) as (up, down):
            straight = StraightCarrier(), StraightCarrier()
            first = Relay(_through(near, inner, request.congestion), straight, tally)
            second = Relay(to_address(request.to_host, request.to_port, HOP_BYTES), straight, Tally())
            if request.profile.reset_every_s:
                first.reset_after(request.profile.reset_every_s, random.Random(f"{request.seed} resets"))
            with _pumped(near.tun, far.tun, up), _pumped(far.tun, near.tun, down):
                async with second.serving(inner), first.serving(outer):
                    yield int(outer.getsockname()[1])


def _outer_listener(request: Request, inner: socket.socket) -> socket.socket:
    try:
        return open_listener(request.host, request.port, HOP_BYTES)
    except BenchError:
        inner.close()
        raise


@contextlib.contextmanager
def _pumped(source: int, target: int, carrier: DelayingCarrier) -> Iterator[None]:
    """Takes packets from one device to the other within the block."""
    loop = asyncio.get_running_loop()
    loop.add_reader(source, partial(_take, source, partial(_put, target), carrier))
    try:
        yield
    finally:
        loop.remove_reader(source)


def _take(source: int, put: Callable[[bytes], None], carrier: DelayingCarrier) -> None:
    for _ in range(PACKETS_A_TURN):
        try:
            packet = os.read(source, MTU_BYTES + 4)
        except BlockingIOError:
            return
        is_ipv4 = packet[0] >> 4 == 4  # what IPv6 says of itself on a new device is not part of the link
        if is_ipv4 and not carrier.is_lost():
            carrier.send(len(packet), partial(put, packet))


def _put(target: int, packet: bytes) -> None:
    with contextlib.suppress(BlockingIOError):  # the kernel's own queue is full: it drops, as it would
        os.write(target, packet)


def _through(near: Namespace, inner: socket.socket, congestion: str) -> Connect:
    """Connects over the link: the socket is made in the near namespace."""
    address = inner.getsockname()

    async def connect(make: Callable[[], asyncio.BaseProtocol]) -> object:
        loop = asyncio.get_running_loop()
        end = near.run(partial(_socket, congestion))
        try:
            await loop.sock_connect(end, address)
        except BaseException:
            end.close()
            raise
        return await loop.create_connection(make, sock=end)

    return connect


def _listening(congestion: str) -> socket.socket:
    listener = _socket(congestion)
    listener.bind((FAR, 0))
    listener.listen(1024)
    return listener


def _socket(congestion: str) -> socket.socket:
    """Raises BenchError for a congestion control that the kernel does not have."""
    end = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    end.setblocking(False)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if congestion:
        try:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
        except OSError as error:
            end.close()
            raise BenchError(f"--congestion {congestion}: {error.strerror}") from error
    return end
