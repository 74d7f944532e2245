"""The six parts of the comparison: what is started, what is put beside what, and which bar holds.

A part that needs a library which is not here says so and is left out. Each ends what it started.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench import decode_cost, local_cost
from bench.engines.bar import Bar, Line
from bench.engines.lag import lags
from bench.engines.systems import WORKER, Engine, Worker, gateway, local_loop, server, through
from bench.engines.turns import Rounds, System, Turns, costs, rates, ratio
from bench.load.loop import run_loop
from bench.models import found_model
from edge_worker.backends.opencv_dnn import OpenCVLoader
from edge_worker.backends.settings import BackendSettings
from edge_worker.models.registry import read_verified

ALL_AT_ONCE = 4
"""Requests in flight where both cores compute."""
BATCH = 8
SATURATED = 2 * BATCH
"""Requests in flight where batches are: one computes while the next one fills."""
LARGE_IMAGES = 16
"""Of those that are enlarged to 12 megapixels: each takes a second."""
LOCAL_ROUNDS = 12


@dataclass(frozen=True)
class Settings:
    """What all parts are told."""

    engine: Engine
    """As it does best on all cores; parts that need another number of slots or threads say so."""
    turns: Turns
    lag_s: float


@dataclass(frozen=True)
class Part:
    """What one gave."""

    title: str
    lines: Sequence[Line] = ()
    rounds: Rounds = ()
    left_out: str = ""
    """Why something of it is not there."""
    notes: Mapping[str, float] = field(default_factory=dict)
    """Further numbers by name; the unit is in the name."""


def one_core(settings: Settings) -> Part:
    """A worker held to the last core; gateway and client on the others. The loop is on the worker's."""
    title = "OpenCV on one core"
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return Part(title, left_out="needs two cores")
    engine = _with(settings, slots=1, threads=1)
    worker, others = cores[-1:], cores[:-1]
    with (
        gateway(engine.model, {"edge": Worker(engine, cores=worker)}, others) as stack,
        local_loop(engine, worker) as loop,
        local_loop(engine, worker, huge_pages=True) as huge,
    ):
        tunnel = through(stack, "edge", engine.model, 2, others)
        systems = {"tunnel": tunnel, "local loop": loop, "loop in huge pages": huge}
        rounds = list(settings.turns.take(systems))
    bars = {"local loop": Bar(least=0.97), "loop in huge pages": Bar()}
    lines = [
        Line(f"tunnel by {name}, worker's core", rates(rounds, "tunnel", name), bar, _on_core(rounds, name))
        for name, bar in bars.items()
    ]
    return Part(title, lines, rounds)


def _on_core(rounds: Rounds, loop: str) -> float:
    """The ratio to a loop by CPU time, of what has the worker's core."""
    return statistics.median(one[loop].cpu_ms / one["tunnel"].cpu_ms_of(WORKER) for one in rounds)


def all_cores(settings: Settings) -> Part:
    """The tunnel, loops, and servers of others' making with the same engine, at the same concurrency."""
    engine, cores = settings.engine, len(os.sched_getaffinity(0))
    as_shipped = _with(settings, slots=1, threads=cores)
    left_out = "" if importlib.util.find_spec("litserve") else "LitServe is not installed"
    with ExitStack() as kept:
        workers = {"edge": Worker(engine), "shipped": Worker(as_shipped)}
        stack = kept.enter_context(gateway(engine.model, workers))
        systems: dict[str, System] = {
            "tunnel": through(stack, "edge", engine.model, ALL_AT_ONCE),
            "local loop": kept.enter_context(local_loop(as_shipped)),
            "loop of slots": kept.enter_context(local_loop(engine)),
            "tunnel, one slot": through(stack, "shipped", engine.model, ALL_AT_ONCE),
            "Flask": kept.enter_context(server("flask_server", engine, ALL_AT_ONCE)),
        }
        if not left_out:
            systems["LitServe"] = kept.enter_context(server("litserve_server", engine, ALL_AT_ONCE, is_form=True))
        rounds = list(settings.turns.take(systems))
    at_least = {"local loop": Bar(least=0.92), "Flask": Bar(least=1.0), "LitServe": Bar(least=1.0)}
    lines = [
        Line(
            f"tunnel by {name}",
            rates(rounds, "tunnel", name),
            at_least.get(name, Bar()),
            costs(rounds, "tunnel", name).median,
        )
        for name in systems
        if name not in ("tunnel", "tunnel, one slot")
    ]
    one_slot = rates(rounds, "tunnel, one slot", "local loop")
    lines.append(
        Line("tunnel, one slot, by local loop", one_slot, cpu=costs(rounds, "tunnel, one slot", "local loop").median)
    )
    return Part(f"OpenCV on {cores} cores", lines, rounds, left_out)


def batches(settings: Settings) -> Part:
    """TensorFlow with batches and without, through the same gateway."""
    title = "TensorFlow, batches"
    if importlib.util.find_spec("tensorflow") is None:
        return Part(title, left_out="TensorFlow is not installed")
    engine = _with(settings, slots=1, threads=0)
    workers = {
        "single": Worker(engine, "tensorflow"),
        "batched": Worker(engine, "tensorflow", ["--max-batch", str(BATCH)]),
    }
    with gateway(engine.model, workers) as stack:
        systems = {name: through(stack, name, engine.model, SATURATED) for name in workers}
        rounds = list(settings.turns.take(systems))
    text = f"batches of up to {BATCH} by batch 1"
    line = Line(text, rates(rounds, "batched", "single"), Bar(least=1.4), costs(rounds, "batched", "single").median)
    return Part(title, [line], rounds)


def local_mode(settings: Settings) -> Part:
    """See bench/local_cost.py."""
    told = BackendSettings(threads=1, model_dirs=tuple(settings.engine.model_dirs))
    pairs = run_loop(local_cost.measure(settings.engine.model, told, settings.turns.images, LOCAL_ROUNDS))
    wall = ratio([pair.local.wall_s / pair.bare.wall_s for pair in pairs])
    cpu = statistics.median(pair.local.cpu_s / pair.bare.cpu_s for pair in pairs)
    return Part("local mode", [Line("time of local mode by bare engine", wall, Bar(most=1.02), cpu)])


def large_jpeg(settings: Settings) -> Part:
    """See bench/decode_cost.py."""
    found = found_model(settings.engine.model, settings.engine.model_dirs)
    assert found.spec is not None
    loader = OpenCVLoader()
    loader.prepare(threads=1)
    images = [image.read_bytes() for image in settings.turns.images[:LARGE_IMAGES]]
    results = decode_cost.measure(images, found.spec.input, loader.load(found.spec, read_verified(found)), rounds=1)
    line = Line("12-megapixel JPEG, CPU time by full decode", ratio([one.ratio for one in results]), Bar(most=0.25))
    same = sum(one.is_same for one in results)
    return Part("a large JPEG", [line], notes={"images": len(results), "same_top1": same})


def loop_lag(settings: Settings) -> Part:
    """How late a worker's event loop is under full load; a millisecond is the unit of these lines."""
    found, left_out = lags(settings.engine, settings.turns.images, settings.lag_s, BATCH, SATURATED)
    lines = [
        Line(f"p99 of its lag in ms, {name}", ratio([one.worker_ms]), Bar(most=5.0)) for name, one in found.items()
    ]
    notes = {f"of an idle one beside {name}": one.idle_ms for name, one in found.items()}
    return Part("event loop under full load", lines, left_out=left_out, notes=notes)


def _with(settings: Settings, *, slots: int, threads: int) -> Engine:
    return Engine(settings.engine.model, settings.engine.model_dirs, slots, threads)


PARTS: Mapping[str, Callable[[Settings], Part]] = {
    "one-core": one_core,
    "all-cores": all_cores,
    "batches": batches,
    "local": local_mode,
    "jpeg": large_jpeg,
    "lag": loop_lag,
}
"""By the name that --only takes."""
