"""What processes cost: which are counted, and how."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.peers import accounts
from bench.peers.accounts import Accounts, cpu_clock

MISSING = 2**22 + 1
"""Beyond what Linux gives (pid_max)."""


def process(proc: Path, pid: int, peak_kb: int, *children: int) -> None:
    """A process as /proc shows it."""
    task = proc / str(pid) / "task" / str(pid)
    task.mkdir(parents=True)
    (task / "children").write_text(" ".join(map(str, children)) + " ")
    (proc / str(pid) / "status").write_text(f"Name:\tx\nVmPeak:\t 9999 kB\nVmHWM:\t {peak_kb} kB\n")


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Nanoseconds by process; one that is not in it is gone."""
    known: dict[int, int] = {}

    def read(clock: int) -> int:
        pid = ~(clock >> 3)
        if pid not in known:
            raise OSError("no such process")
        return known[pid]

    monkeypatch.setattr(accounts.time, "clock_gettime_ns", read)
    return known


def test_the_clock_of_a_process_is_the_kernels() -> None:
    """Of ourselves it lies between two readings of our own."""
    before = time.process_time_ns()
    read = time.clock_gettime_ns(cpu_clock(os.getpid()))
    assert before <= read <= time.process_time_ns()


def test_children_count_and_parts_are_apart(tmp_path: Path, clocks: dict[int, int]) -> None:
    """A process that was started stands for all that it started; each part has its own sum."""
    process(tmp_path, 10, 100, 11)
    process(tmp_path, 11, 200, 12)
    process(tmp_path, 12, 300)
    process(tmp_path, 20, 50)
    clocks.update({10: 1000, 11: 2000, 12: 3000, 20: 7000})
    two = Accounts({"public": (10,), "private": (20,)}, tmp_path)
    before = two.read()
    clocks.update({10: 1001, 11: 2010, 12: 3100, 20: 7005})
    assert two.spent(before) == {"public": 111, "private": 5}
    assert two.peak_bytes() == {"public": 600 << 10, "private": 50 << 10}


def test_a_process_that_came_since_began_at_0(tmp_path: Path, clocks: dict[int, int]) -> None:
    """And one that left since is no longer counted, nor an error."""
    process(tmp_path, 10, 1, 11)
    process(tmp_path, 11, 1)
    clocks.update({10: 100, 11: 50})
    one = Accounts({"public": (10,)}, tmp_path)
    before = one.read()
    (tmp_path / "10" / "task" / "10" / "children").write_text("11 12")
    clocks.update({10: 101, 12: 40})
    del clocks[11]
    assert one.spent(before) == {"public": 41}


def test_a_system_that_is_gone_is_an_error(tmp_path: Path, clocks: dict[int, int]) -> None:
    """What was started has to be there."""
    process(tmp_path, 10, 1)
    with pytest.raises(BenchError, match="process 10 is gone"):
        Accounts({"public": (10,)}, tmp_path).read()


def test_peaks_are_counted_anew(tmp_path: Path) -> None:
    """As proc(5) has it, for children too; a process that is gone is passed over."""
    process(tmp_path, 10, 1, 11, MISSING)
    process(tmp_path, 11, 1)
    Accounts({"public": (10,)}, tmp_path).reset_peaks()
    assert [(tmp_path / str(pid) / "clear_refs").read_text() for pid in (10, 11)] == ["5", "5"]
