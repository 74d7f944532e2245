"""Runs of the measuring tool that never happened: samples and summaries whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from bench.load.arrivals import NS, Arrivals, WarmUp, constant
from bench.load.generator import Occupancy, Plan, Run
from bench.load.sample import Recorder, Sample
from bench.measure.summary import About, summarize

START_NS = 5_000_000_000_000
STAGES = {"auth": 0.02, "queue": 0.3, "tunnel_out": 0.1, "worker_queue": 0.05, "inference": 0.3, "tunnel_back": 0.1}
"""Shares of the response time."""
ENVIRONMENT = {
    "cpu": "A processor",
    "cores": 2,
    "load_average": [0.1, 0.2, 0.3],
    "gpu": [],
    "libraries": {"numpy": "2"},
    "commit": "0" * 40,
    "command": "python bench/test.py --rate 100",
}


def skewed_ms(count: int, seed: int = 1, mean_ms: float = 20.0) -> list[float]:
    """Log-normal latencies."""
    return list(np.random.default_rng(seed).lognormal(np.log(mean_ms), 0.4, count))


def synthetic_run(
    latencies_ms: Sequence[float],
    *,
    rate: float = 100.0,
    warm_up: int = 0,
    failures: Mapping[int, tuple[str, int]] | None = None,
    workers: Sequence[str] = ("worker-1",),
    labels: Callable[[int], str] = lambda _index: "",
    stages: Iterable[str] = STAGES,
    timeout_s: float = 10.0,
) -> Run:
    """One request each 1/rate s, of these latencies, or failed with (reason, status); no send lag to speak of."""
    stages = list(stages)
    recorder, occupancy = Recorder(), Occupancy(START_NS)
    changes: list[tuple[int, bool]] = []
    for index, latency_ms in enumerate(latencies_ms):
        t_int = START_NS + round(index * NS / rate)
        sample = Sample(
            index, t_int, t_int + 20_000, is_warmup=index < warm_up, status=200, bytes_out=1000, bytes_in=200
        )
        sample.t_done_ns = t_int + max(30_000, round(latency_ms * 1e6))
        sample.t_first_byte_ns = sample.t_done_ns - 5_000
        sample.worker, sample.label = workers[index % len(workers)], labels(index)
        if failures and index in failures:
            sample.reason, sample.status = failures[index]
        else:
            whole = [(name, latency_ms * STAGES.get(name, 0.01)) for name in stages]
            sample.stages = [*whole, ("total", latency_ms * 0.95)] if stages else []
        recorder.add(sample)
        changes += [(t_int, True), (sample.t_done_ns, False)]
    for at_ns, comes in sorted(changes):
        occupancy.enter(at_ns, at_ns) if comes else occupancy.leave(at_ns)
    samples = recorder.samples()
    recorder.close()
    return Run(
        plan=Plan(
            Arrivals("constant", f"constant, {rate:g}/s", lambda: constant(rate), round(NS / rate)),
            warm_up=WarmUp(count=warm_up),
            timeout_ns=round(timeout_s * NS),
        ),
        samples=samples,
        started_ns=START_NS,
        measured_from_ns=START_NS + round(warm_up * NS / rate),
        measured_to_ns=START_NS + round(len(latencies_ms) * NS / rate),
        ended_ns=int(samples.column("t_done").max(initial=START_NS)),
        is_interrupted=False,
        occupancy=occupancy,
    )


def synthetic_summary(run: Run, *, url: str = "https://example.test/inference/digits", **about: Any) -> dict[str, Any]:
    """As the program makes it."""
    described = About(
        url=url,
        arrivals="constant, 100/s",
        kind="constant",
        rate=100.0,
        connections=0,
        keep_alive=True,
        timeout_s=run.plan.timeout_ns / NS,
        seed=1,
        pictures=10,
        picture_bytes_mean=300.0,
        **about,
    )
    return summarize(run, described, ENVIRONMENT, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
