"""The processes that hold the workers, as whoever measures sees them: so many are wanted, so many are ready."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from bench.errors import BenchError
from demo.stack import REPOSITORY, Credentials

STOP_TIMEOUT_S = 10.0
LOOK_S = 0.05


@dataclass
class _Process:
    child: asyncio.subprocess.Process
    said: dict[str, Any] = field(default_factory=dict)  # Any: JSON

    async def listen(self) -> None:
        assert self.child.stdout is not None
        while line := await self.child.stdout.readline():
            self.said = json.loads(line)


class Crowds:
    """All of them."""

    def __init__(self, processes: list[_Process]) -> None:
        self._processes = processes

    async def want(self, tunnels: int) -> None:
        """As many as this, spread evenly; never fewer than before."""
        count = len(self._processes)
        for place, process in enumerate(self._processes):
            assert process.child.stdin is not None
            process.child.stdin.write(b"%d\n" % ((tunnels + count - 1 - place) // count))
            await process.child.stdin.drain()

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        return [process.child.pid for process in self._processes]

    def sum_of(self, name: str) -> int:
        """Of one number that they say: open, ready, dials."""
        return sum(process.said.get(name, 0) for process in self._processes)

    @property
    def ready_at(self) -> float:
        """When the newest became ready, on the machine's monotonic clock."""
        return float(max(process.said.get("ready_at", 0.0) for process in self._processes))

    @property
    def failures(self) -> dict[str, int]:
        """Why dials failed and tunnels ended, and how often."""
        found: Counter[str] = Counter()
        for process in self._processes:
            found.update(process.said.get("failures", {}))
        return dict(found)

    async def wait_ready(self, tunnels: int, timeout_s: float) -> None:
        """Until all are. Raises BenchError."""
        await self._wait(lambda: self.sum_of("ready") >= tunnels, tunnels, timeout_s)

    async def wait_none(self, timeout_s: float) -> None:
        """Until the last has noticed that its gateway is gone. Raises BenchError."""
        await self._wait(lambda: self.sum_of("open") == 0, 0, timeout_s)

    async def _wait(self, is_so: Callable[[], bool], wanted: int, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not is_so():
            if any(process.child.returncode is not None for process in self._processes):
                raise BenchError("a process of workers ended")
            if time.monotonic() > deadline:
                ready, failures = self.sum_of("ready"), self.failures
                raise BenchError(f"{ready} of {wanted} tunnels are ready after {timeout_s:g} s; failed: {failures}")
            await asyncio.sleep(LOOK_S)


@contextlib.asynccontextmanager
async def crowds(url: str, credentials: Credentials, processes: int, seed: int) -> AsyncIterator[Crowds]:
    """Starts them within the block; none has a tunnel yet."""
    started: list[_Process] = []
    listening: list[asyncio.Task[None]] = []
    try:
        for number in range(processes):
            options = ["--url", url, "--ca-file", str(credentials.ca), "--keys", str(credentials.keys)]
            options += ["--prefix", f"w{number}-", "--seed", str(seed + number)]
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bench.fleet.crowd",
                *options,
                cwd=REPOSITORY,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
            started.append(_Process(child))
            listening.append(asyncio.create_task(started[-1].listen()))
        yield Crowds(started)
    finally:
        await asyncio.gather(*(_end(process.child) for process in started))
        await asyncio.gather(*listening)


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.stdin is not None:
        child.stdin.close()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()
