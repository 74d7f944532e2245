"""The slice of a thread, as the kernel shows it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import TypeVar

import pytest

from edge_worker.time_slice import SLICE_NS, shorten_slice

T = TypeVar("T")


def slice_ns() -> int:
    """This thread's; 0 where this kernel does not show it: before 6.12, or without its debugging options."""
    try:
        lines = Path("/proc/thread-self/sched").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    values = [line.split(":")[1] for line in lines if line.startswith("se.slice ")]
    return int(values[0]) if values else 0


def in_a_thread(work: Callable[[], T]) -> T:
    """What a thread of its own saw: the slice of whoever runs the tests stays as it is."""
    seen: list[T] = []
    thread = Thread(target=lambda: seen.append(work()))
    thread.start()
    thread.join()
    return seen[0]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_the_thread_gets_the_slice_and_keeps_its_niceness() -> None:
    def work() -> tuple[bool, int, int]:
        return shorten_slice(), slice_ns(), os.getpriority(os.PRIO_PROCESS, 0)

    was_taken, after_ns, nice = in_a_thread(work)
    assert was_taken
    assert after_ns in (SLICE_NS, 0)
    assert nice == os.getpriority(os.PRIO_PROCESS, 0)


@pytest.mark.skipif(slice_ns() == 0, reason="this kernel shows no slices")
def test_what_the_thread_starts_has_the_slice_of_everybody() -> None:
    def work() -> tuple[int, int]:
        shorten_slice()
        shown = subprocess.run(["grep", "se.slice ", "/proc/self/sched"], capture_output=True, text=True, check=True)
        return in_a_thread(slice_ns), int(shown.stdout.split(":")[1])

    of_everybody = in_a_thread(slice_ns)
    assert in_a_thread(work) == (of_everybody, of_everybody)


def test_a_system_that_is_not_linux_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert not shorten_slice()
