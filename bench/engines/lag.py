"""How late a worker's event loop is while it has more than it can do, by its own word (edge_worker/loop_lag.py).

It speaks of the last minute, so the load lasts longer than that, without a pause, and the number that was reported
last is taken. Beside it an event loop without work is asked the same: what that one is late, the worker is not to blame
for.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.engines.systems import Engine, Worker, gateway, through
from bench.errors import BenchError
from demo.stack import REPOSITORY, Stack

REPORT_S = 15.0
"""For a worker's first report, which it sends every second when there is news."""

END_S = 30.0
"""For the event loop without work to end, when its time is over."""


@dataclass(frozen=True)
class Lag:
    """The 99th percentiles in milliseconds."""

    worker_ms: float
    idle_ms: float
    """Of the event loop without work, meanwhile."""


def lags(
    engine: Engine, images: Sequence[Path], seconds: float, batch: int, connections: int
) -> tuple[dict[str, Lag], str]:
    """By engine, batching off and on; and what was left out. Raises BenchError."""
    engines = {"opencv_dnn": "OpenCV"}
    left_out = "TensorFlow is not installed"
    if importlib.util.find_spec("tensorflow") is not None:
        engines["tensorflow"], left_out = "TensorFlow", ""
    found = {}
    for backend, name in engines.items():
        workers = {
            "single": Worker(engine, backend),
            "batched": Worker(engine, backend, ["--max-batch", str(batch)]),
        }
        with gateway(engine.model, workers) as stack:
            for worker in workers:
                with _idle(seconds) as idle:
                    through(stack, worker, engine.model, connections)(images, seconds)
                    reported_ms = _reported_ms(stack, worker)
                text = f"{name}, {'batching' if worker == 'batched' else 'no batching'}"
                found[text] = Lag(reported_ms, float(idle.communicate(timeout=END_S)[0]))
    return found, left_out


@contextmanager
def _idle(seconds: float) -> Iterator[subprocess.Popen[str]]:
    """The event loop without work, for so long; it prints its lag."""
    command = [sys.executable, "-m", "bench.engines.idle", str(seconds)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield process
    except BaseException:
        process.kill()
        raise


def _reported_ms(stack: Stack, worker: str) -> float:
    """The newest report, waiting for a first one. Raises BenchError."""
    deadline = time.monotonic() + REPORT_S
    while time.monotonic() < deadline:
        view = next(one for one in stack.workers_view() if one["worker"] == worker)
        if view["load"]:
            return float(view["load"]["loop_lag_p99_ms"])
        time.sleep(0.1)
    raise BenchError(f"{worker} reported no lag within {REPORT_S:g} s")
