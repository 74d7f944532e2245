"""Each system of the comparison that is on this machine: it starts, answers through its tunnel, and leaves nothing."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.peers.accounts import Accounts
from bench.peers.closed_loop import connected, run_block
from bench.peers.grounds import Grounds, prepared
from bench.peers.registry import SYSTEMS
from bench.peers.slow_link import SlowPlan, over_slow_link
from bench.peers.system import System
from bench.peers.this_project import EchoBackend
from demo.stack import REPOSITORY

PATIENCE_S = 180.0
SIZE = 100_000


@pytest.fixture(scope="module")
def grounds() -> Iterator[Grounds]:
    with prepared() as made:
        yield made


def lives(pid: int) -> bool:
    """Zombies are over: whoever reaps them here is slow."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda one: one.name)
def test_each_system(grounds: Grounds, system: System, wait_until: Callable[..., float]) -> None:
    """Some hundred kilobytes on two connections are answered, the kernel says what they cost, and it all ends."""
    if why := system.missing():
        pytest.skip(why)
    with grounds.started(system, system.name) as running:
        accounts = Accounts(running.parts)
        before = accounts.read()
        answers = iter(range(10))
        with connected(running.address.port, running.address.request(SIZE), 2, grounds.tls) as connections:
            block = run_block(connections, lambda _now_ns: next(answers, 9) >= 9)
        spent = accounts.spent(before)
        pids = [pid for clocks in accounts.read().values() for pid in clocks]
    assert not block.failures
    assert len(block.latencies_ns) >= 10
    assert all(value > 0 for value in spent.values())
    wait_until(lambda: not any(lives(pid) for pid in pids), "every process is gone")


def test_the_slow_link(grounds: Grounds) -> None:
    """Small requests take the round trip at least, and an upload does not carry more than the link can."""
    plan = SlowPlan(rounds=1, idle_s=1.0, upload_bytes=1_000_000, seed=1)
    slow = asyncio.run(over_slow_link(grounds, EchoBackend(), plan))
    assert slow.failures == 0
    assert slow.idle_p50_ms >= 50
    assert 0 < slow.share <= 1.05  # the first bytes find an empty queue
    assert min(slow.requests) > 0


def test_the_program(tmp_path: Path) -> None:
    """A short run of two systems gives tables and files, and ends well."""
    load = ["--sizes", "1000", "--concurrency", "1", "4", "--rounds", "2", "--block", "0.3", "--slow"]
    done = subprocess.run(
        [sys.executable, "-m", "bench.peers", "--systems", "direct", "echo", *load, "--out", str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, "COLUMNS": "150"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kB: cost of a request" in done.stdout
    document = json.loads((tmp_path / "peers.json").read_text())
    assert {(one["system"], one["concurrency"]) for one in document["cells"]} == {
        (name, number) for name in ("direct", "echo") for number in (1, 4)
    }
    assert (tmp_path / "peers.svg").exists()
