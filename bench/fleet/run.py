"""One study: a gateway, some tunnels, many tunnels, quiet, the gateway's death and return; then decisions alone.

Everything that was started is gone at the end. Refuses to begin when the system does not let one process hold so many
files.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench.errors import BenchError
from bench.fleet import decision
from bench.fleet.cost import Cost, Spending
from bench.fleet.crowd import raise_file_limit
from bench.fleet.crowds import Crowds, crowds
from bench.fleet.document import Fleet, Joined, Returned
from bench.measure.environment import environment
from demo.stack import Stack, StackError, port_is_free

SPARE_FILES = 200
"""Of the gateway, beside one for each tunnel."""
READY_TIMEOUT_S = 600.0
NOTICE_TIMEOUT_S = 60.0
PORTS = range(12_000, 32_000)
"""Below those that the system gives to whoever dials: a worker's own end must not take the port of a gateway that is
down."""


@dataclass(frozen=True)
class Plan:
    """What was asked for; times in seconds."""

    tunnels: int
    base: int
    processes: int
    settle_s: float
    window_s: float
    down_s: float
    decisions: Sequence[int]
    seed: int


async def study(plan: Plan, command: Sequence[str], console: Console) -> Fleet:
    """All of it. Raises BenchError."""
    most = raise_file_limit()
    if plan.tunnels + SPARE_FILES > most:
        raise BenchError(f"{plan.tunnels} tunnels: the system allows {most} open files (ulimit -Hn); ask for fewer")
    if plan.base >= plan.tunnels:
        raise BenchError(f"--base {plan.base} must be below --tunnels {plan.tunnels}")
    started = datetime.now(UTC)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-fleet-") as name, Stack(Path(name)) as stack:
            stack.credentials.make()
            stack.start_gateway(_port(plan.seed))
            url = f"wss://localhost:{stack.port}/v1/tunnel"
            async with crowds(url, stack.credentials, plan.processes, plan.seed) as workers:
                joined = [await _join(stack, workers, number, plan, console) for number in (plan.base, plan.tunnels)]
                idle = await _idle(stack, workers, plan, console)
                returned = await _return(stack, workers, plan, console)
                failures = workers.failures
    except StackError as error:
        raise BenchError(str(error)) from error
    decisions = [_decide(number, console) for number in plan.decisions]
    return Fleet(started, environment(command), plan.tunnels, joined, idle, returned, decisions, failures)


async def _join(stack: Stack, workers: Crowds, tunnels: int, plan: Plan, console: Console) -> Joined:
    before, spending = workers.sum_of("ready"), Spending(stack.gateway.popen.pid, workers.pids)
    began = time.monotonic()
    await workers.want(tunnels)
    await workers.wait_ready(tunnels, READY_TIMEOUT_S)
    took_s, cost = workers.ready_at - began, spending.read()
    console.print(f"{tunnels} tunnels: {tunnels - before} more within {took_s:.1f} s, {cost.gateway_s:.1f} s of CPU")
    await asyncio.sleep(plan.settle_s)
    return Joined(tunnels, tunnels - before, took_s, cost, spending.memory())


async def _idle(stack: Stack, workers: Crowds, plan: Plan, console: Console) -> Cost:
    spending = Spending(stack.gateway.popen.pid, workers.pids)
    await asyncio.sleep(plan.window_s)
    cost = spending.read()
    console.print(f"{plan.tunnels} tunnels idle: {cost.gateway_share:.1%} of a core")
    return cost


async def _return(stack: Stack, workers: Crowds, plan: Plan, console: Console) -> Returned:
    dials, failures = workers.sum_of("dials"), sum(workers.failures.values())
    stack.gateway.kill()
    killed = time.monotonic()
    await workers.wait_none(NOTICE_TIMEOUT_S)
    await asyncio.sleep(max(0.0, killed + plan.down_s - time.monotonic()))
    await asyncio.to_thread(_start_again, stack)
    began, spending = time.monotonic(), Spending(stack.gateway.popen.pid, workers.pids)
    await workers.wait_ready(plan.tunnels, READY_TIMEOUT_S)
    took_s, cost = workers.ready_at - began, spending.read()
    console.print(
        f"after {began - killed:.1f} s without a gateway, {plan.tunnels} tunnels are back within {took_s:.1f} s"
    )
    return Returned(
        began - killed, took_s, cost, workers.sum_of("dials") - dials, sum(workers.failures.values()) - failures
    )


def _start_again(stack: Stack) -> None:
    stack.start_gateway(stack.port)


def _decide(workers: int, console: Console) -> decision.Decision:
    found = decision.measure(workers)
    console.print(f"a decision among {workers} workers: {found.us:.1f} us")
    return found


def _port(seed: int) -> int:
    rng = random.Random(seed)
    return next(port for port in iter(lambda: rng.choice(PORTS), 0) if port_is_free(port))
