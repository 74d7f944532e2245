"""How late a worker's event loop is while it has more than it can do, by its own word (edge_worker/loop_lag.py).

It speaks of the last half minute, so the load lasts longer than that, without a pause, and the number that was reported
last is taken.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from bench.engines.systems import Engine, Worker, gateway, through
from bench.errors import BenchError
from demo.stack import Stack


def lags(
    engine: Engine, images: Sequence[Path], seconds: float, batch: int, connections: int
) -> tuple[dict[str, float], str]:
    """The 99th percentiles in milliseconds by engine, batching off and on; and what was left out."""
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
                through(stack, worker, engine.model, connections)(images, seconds)
                found[f"{name}, {'batching' if worker == 'batched' else 'no batching'}"] = _reported_ms(stack, worker)
    return found, left_out


def _reported_ms(stack: Stack, worker: str) -> float:
    """Raises BenchError."""
    view = next(one for one in stack.workers_view() if one["worker"] == worker)
    try:
        return float(view["load"]["loop_lag_p99_ms"])
    except (KeyError, TypeError, ValueError) as error:
        raise BenchError(f"{worker} reports no lag") from error
