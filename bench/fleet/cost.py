"""What one gateway's process holds and spends, by the kernel's accounting. Linux only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.peers.accounts import cpu_clock


@dataclass(frozen=True)
class Memory:
    """Bytes of the gateway's process."""

    resident: int
    """Pages that are in memory, shared libraries too."""
    proportional: int
    """The same, each shared page by the number of processes that share it."""


@dataclass(frozen=True)
class Cost:
    """Of a while; seconds."""

    wall_s: float
    gateway_s: float
    """CPU time, user and system, of all threads."""
    workers_s: float
    """That of the processes that hold the workers, which have the same machine."""

    @property
    def gateway_share(self) -> float:
        """Of one core."""
        return self.gateway_s / self.wall_s


class Spending:
    """Since it was made."""

    def __init__(self, gateway: int, workers: Sequence[int]) -> None:
        """Process ids."""
        self._gateway = gateway
        self._workers = workers
        self._began = time.monotonic()
        self._gateway_ns, self._workers_ns = self._clocks()

    def read(self) -> Cost:
        """So far. Raises BenchError when a process is gone."""
        gateway_ns, workers_ns = self._clocks()
        wall_s = time.monotonic() - self._began
        return Cost(wall_s, (gateway_ns - self._gateway_ns) / 1e9, (workers_ns - self._workers_ns) / 1e9)

    def memory(self) -> Memory:
        """Now. Raises BenchError."""
        try:
            lines = Path(f"/proc/{self._gateway}/smaps_rollup").read_text().splitlines()[1:]
        except OSError as error:
            raise BenchError(f"the gateway's memory cannot be read: {error}") from error
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        return Memory(kib["Rss"] << 10, kib["Pss"] << 10)

    def _clocks(self) -> tuple[int, int]:
        try:
            gateway_ns = time.clock_gettime_ns(cpu_clock(self._gateway))
            return gateway_ns, sum(time.clock_gettime_ns(cpu_clock(pid)) for pid in self._workers)
        except OSError as error:
            raise BenchError("a process is gone whose CPU time is counted") from error
