"""What the relay adds by itself: round trips straight to a server, through a relay that adds nothing, and through the
profile, one after the other in one run.

The profile's own percentiles are those of its rule in virtual time with the same seed, so that what was asked for and
what came stand side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench.network.bottleneck import NS, bottlenecks
from bench.network.process import network
from bench.network.profile import DIRECT, UNLIMITED, Profile

BODY_BYTES = 100
MAX_SECONDS = 20.0
"""Of round trips through the profile; the other arms take little."""
MOST_ROUNDS, LEAST_ROUNDS = 500, 20
BULK_S = 5.0
"""Of a transfer as fast as it goes, there and back."""
QUANTILES = (0.5, 0.9, 0.99, 1.0)


@dataclass(frozen=True)
class Arm:
    """One path and its round trips."""

    name: str
    trips_ms: list[float]

    def percentile_ms(self, q: float) -> float:
        """Nearest rank."""
        return sorted(self.trips_ms)[math.ceil(q * len(self.trips_ms)) - 1]


async def self_test(profile: Profile, seed: int, options: Sequence[str], is_json: bool, console: Console) -> None:
    """Measures and prints. `options`: further flags of the relays. Raises BenchError when one cannot be started."""
    async with _echo_server() as port:
        target = ("127.0.0.1", port)
        async with (
            network(DIRECT, seed=seed, to=target, options=options) as bare,
            network(profile, seed=seed, to=target, options=options) as shaped,
        ):
            straight, nothing, through = await _measure((port, bare.port, shaped.port), profile)
            rate_bits_s = await _bulk_rate(shaped.port, profile)
    arms = [
        Arm("direct connection", straight),
        Arm("relay that adds nothing", nothing),
        Arm(f"{profile.name}, by its rule", expected_ms(profile, seed, len(through))),
        Arm(f"{profile.name}, measured", through),
    ]
    if is_json:
        _print_json(console, arms, rate_bits_s, profile, shaped.report)
    else:
        _print_table(console, arms, rate_bits_s, profile)


async def added_ms(seed: int) -> dict[str, float]:
    """Milliseconds that a relay which adds nothing puts on a round trip, at the median and the 99th percentile. Raises
    BenchError when it cannot be started."""
    async with _echo_server() as port, network(DIRECT, seed=seed, to=("127.0.0.1", port)) as bare:
        straight, through = await _measure((port, bare.port), DIRECT)
    arms = Arm("direct connection", straight), Arm("relay that adds nothing", through)
    return {f"p{100 * q:g}": arms[1].percentile_ms(q) - arms[0].percentile_ms(q) for q in (0.5, 0.99)}


def expected_ms(profile: Profile, seed: int, rounds: int) -> list[float]:
    """Round trips of the rule alone, one after the other, in virtual time."""
    up, down = bottlenecks(profile, seed)
    now_ns, trips = 0, []
    for _ in range(rounds):
        back_ns = down.admit(BODY_BYTES, up.admit(BODY_BYTES, now_ns))
        trips.append((back_ns - now_ns) / 1e6)
        now_ns = back_ns
    return trips


async def _measure(ports: Sequence[int], profile: Profile) -> list[list[float]]:
    """Round trips on one connection each, in turn, so that all meet the same machine."""
    mean_s = max(1e-4, sum(expected_ms(profile, 0, LEAST_ROUNDS)) / LEAST_ROUNDS / 1000)
    rounds = max(LEAST_ROUNDS, min(MOST_ROUNDS, int(MAX_SECONDS / mean_s)))
    async with contextlib.AsyncExitStack() as stack:
        paths = [await stack.enter_async_context(_connected(port)) for port in ports]
        trips: list[list[float]] = [[] for _ in paths]
        for reader, writer in paths:  # the handshake is over after this
            await _trip_ms(reader, writer)
        for _ in range(rounds):
            for (reader, writer), into in zip(paths, trips, strict=True):
                into.append(await _trip_ms(reader, writer))
        return trips


async def _trip_ms(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
    began_ns = time.monotonic_ns()
    writer.write(bytes(BODY_BYTES))
    await reader.readexactly(BODY_BYTES)
    return (time.monotonic_ns() - began_ns) / 1e6


async def _bulk_rate(port: int, profile: Profile) -> float | None:
    """Bits per second that come back during some seconds; None for a profile without a rate."""
    if min(profile.up.rate_bits_s, profile.down.rate_bits_s) == UNLIMITED:
        return None
    async with _connected(port) as (reader, writer):
        await _trip_ms(reader, writer)
        sending = asyncio.create_task(_send(writer))
        began_ns = last_ns = came = 0
        try:
            async with asyncio.timeout(BULK_S):
                while data := await reader.read(1 << 16):
                    last_ns = time.monotonic_ns()
                    came += len(data) if began_ns else 0  # the first piece starts the clock
                    began_ns = began_ns or last_ns
        except TimeoutError:
            pass  # it sends without end
        finally:
            sending.cancel()
            await asyncio.wait({sending})
            writer.transport.abort()
        return came * 8 * NS / (last_ns - began_ns) if last_ns > began_ns else 0.0


async def _send(writer: asyncio.StreamWriter) -> None:
    piece = bytes(1 << 16)
    while True:
        writer.write(piece)
        await writer.drain()


@contextlib.asynccontextmanager
async def _connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def _echo_server() -> AsyncIterator[int]:
    """Gives back what it gets; its port."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        yield int(server.sockets[0].getsockname()[1])


def _print_table(console: Console, arms: Sequence[Arm], rate_bits_s: float | None, profile: Profile) -> None:
    table = Table(title=f"round trips of {BODY_BYTES} bytes in ms, {len(arms[0].trips_ms)} of each, in turn")
    table.add_column("path")
    for q in QUANTILES:
        table.add_column("max" if q == 1 else f"p{100 * q:g}", justify="right")
    for arm in arms:
        table.add_row(arm.name, *(f"{arm.percentile_ms(q):.3f}" for q in QUANTILES))
    console.print(table)
    added = [arms[1].percentile_ms(q) - arms[0].percentile_ms(q) for q in (0.5, 0.99)]
    console.print(f"the relay itself adds {added[0]:.3f} ms at p50 and {added[1]:.3f} ms at p99", highlight=False)
    if rate_bits_s is not None:
        asked = min(profile.up.rate_bits_s, profile.down.rate_bits_s)
        console.print(f"bulk: {rate_bits_s / 1e6:.3g} of {asked / 1e6:g} Mbit/s", highlight=False)


def _print_json(
    console: Console, arms: Sequence[Arm], rate_bits_s: float | None, profile: Profile, report: object
) -> None:
    trips = {arm.name: {f"p{100 * q:g}": round(arm.percentile_ms(q), 4) for q in QUANTILES} for arm in arms}
    said = {"profile": profile.name, "rounds": len(arms[0].trips_ms), "round_trip_ms": trips}
    console.print(json.dumps({**said, "bulk_bits_s": rate_bits_s, "relay": report}), markup=False, soft_wrap=True)
