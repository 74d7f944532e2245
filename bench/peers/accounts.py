"""What processes cost, from the kernel's own accounting: CPU time in nanoseconds and the peak of resident memory.

A system is some processes that were started, by part (the public side, the private side), and whatever these start
themselves. CPU time is each process's POSIX clock (clock_getcpuclockid(3)): user and system time of all its threads,
also of those that ended. Linux only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.errors import BenchError

PROC = Path("/proc")
CPUCLOCK_SCHED = 2
"""Of include/linux/posix-timers.h: the kind of a process's CPU clock that counts both user and system time."""
RESET_PEAK = "5"
"""What /proc/PID/clear_refs takes to count the peak anew (proc(5))."""

Parts = Mapping[str, Sequence[int]]
"""The process ids that were started, by part."""
Spent = Mapping[str, int]
"""Nanoseconds of CPU, by part."""


class Accounts:
    """Of one system."""

    def __init__(self, parts: Parts, proc: Path = PROC) -> None:
        self._parts = parts
        self._proc = proc

    def read(self) -> dict[str, dict[int, int]]:
        """Nanoseconds so far, by part and process. Raises BenchError when a process that was started is gone."""
        return {part: dict(self._clocks(roots)) for part, roots in self._parts.items()}

    def spent(self, before: Mapping[str, Mapping[int, int]]) -> Spent:
        """Nanoseconds since, by part; a process that came since began at 0."""
        return {
            part: sum(now - before[part].get(pid, 0) for pid, now in clocks.items())
            for part, clocks in self.read().items()
        }

    def reset_peaks(self) -> None:
        """Peaks count from now on. Where that is not allowed, they stay those since the start."""
        for pid in self._pids():
            try:
                (self._proc / str(pid) / "clear_refs").write_text(RESET_PEAK)
            except OSError:
                continue

    def peak_bytes(self) -> dict[str, int]:
        """Sums of the peaks of resident memory (VmHWM), by part. Memory that processes share counts in each."""
        return {part: sum(self._peak(pid) for pid in self._tree(roots)) for part, roots in self._parts.items()}

    def _clocks(self, roots: Sequence[int]) -> Iterator[tuple[int, int]]:
        for pid in self._tree(roots):
            try:
                yield pid, time.clock_gettime_ns(cpu_clock(pid))
            except OSError as error:
                if pid in roots:
                    raise BenchError(f"process {pid} is gone") from error  # its children come and go

    def _pids(self) -> Iterator[int]:
        for roots in self._parts.values():
            yield from self._tree(roots)

    def _tree(self, roots: Sequence[int]) -> Iterator[int]:
        """The processes and all that they started."""
        ahead = list(roots)
        while ahead:
            pid = ahead.pop()
            yield pid
            for file in (self._proc / str(pid) / "task").glob("*/children"):
                ahead.extend(int(child) for child in _read(file).split())

    def _peak(self, pid: int) -> int:
        for line in _read(self._proc / str(pid) / "status").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
        return 0


def cpu_clock(pid: int) -> int:
    """The clock of another process, as clock_getcpuclockid(3) makes it."""
    return (~pid << 3) | CPUCLOCK_SCHED


def _read(file: Path) -> str:
    """'' for a process that is gone."""
    try:
        return file.read_text()
    except OSError:
        return ""
