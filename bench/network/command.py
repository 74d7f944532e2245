"""One relay from its start to its report, whichever kind it is."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

from bench.errors import BenchError
from bench.load.clock import SystemClock
from bench.network.bottleneck import bottlenecks
from bench.network.carrier import DelayingCarrier
from bench.network.profile import Profile
from bench.network.relay import Relay
from bench.network.sockets import kernel_bytes, listening, to_address
from bench.network.tally import Tally


@dataclass(frozen=True)
class Request:
    """What a relay is asked for."""

    profile: Profile
    seed: int
    host: str
    """Where it listens."""
    port: int
    """0: any that is free."""
    to_host: str
    to_port: int
    congestion: str = ""
    """TCP's congestion control where the slow link has a TCP of its own; '' for the kernel's."""


@contextlib.asynccontextmanager
async def carriers(profile: Profile, seed: int, tally: Tally) -> AsyncIterator[tuple[DelayingCarrier, DelayingCarrier]]:
    """Up and down, at work within the block. A clock has one waiter, and each has two. A carrier that fails ends the
    block; what the block raises comes out as it is, not in a group."""
    raised: Exception | None = None
    with SystemClock() as first, SystemClock() as second, SystemClock() as third, SystemClock() as fourth:
        up_rule, down_rule = bottlenecks(profile, seed)
        up = DelayingCarrier(profile.up, up_rule, first, tally.up)
        down = DelayingCarrier(profile.down, down_rule, second, tally.down)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(work)
                for work in (up.run(), down.run(), up.admit_waiting(third), down.admit_waiting(fourth))
            ]
            try:
                yield up, down
            except Exception as error:
                raised = error
            finally:
                for task in tasks:
                    task.cancel()
    if raised is not None:
        raise raised


@contextlib.asynccontextmanager
async def stream_relay(request: Request, tally: Tally) -> AsyncIterator[int]:
    """Relays the bytes of TCP connections within the block; the port it listens on. Raises BenchError."""
    async with carriers(request.profile, request.seed, tally) as (up, down):
        relay = Relay(to_address(request.to_host, request.to_port, kernel_bytes(down)), (up, down), tally)
        if request.profile.reset_every_s:
            relay.reset_after(request.profile.reset_every_s, random.Random(f"{request.seed} resets"))
        listener = open_listener(request.host, request.port, kernel_bytes(up))
        async with relay.serving(listener):
            yield int(listener.getsockname()[1])


def open_listener(host: str, port: int, buffer_bytes: int) -> socket.socket:
    """As `listening`. Raises BenchError."""
    try:
        return listening(host, port, buffer_bytes)
    except OSError as error:
        raise BenchError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
