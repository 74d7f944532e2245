"""A small run with everything in it that a report shows."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from bench.load.arrivals import NS, Arrivals, constant
from bench.load.generator import Occupancy, Plan, Run
from bench.load.sample import Recorder, Sample, Samples
from bench.measure.summary import About, Summary, summarize
from tests.support.samples import MS, START_NS

STAGES = (("auth", 0.5), ("inference", 4.0), ("total", 6.0))
WARM_UP = 20
FAILED = 5


def example_samples(count: int = 500) -> Samples:
    """After 20 of warm-up: one in a hundred failed, two workers, answers of 10 to 19 ms, ten a second late by 100
    us."""
    recorder = Recorder()
    for index in range(count):
        t_int_ns = START_NS + index * 10 * MS
        done_ns = t_int_ns + (10 + index % 10) * MS
        failed = index % 100 == 50
        sample = Sample(index, t_int_ns, t_int_ns + MS // 10, done_ns - MS, done_ns, status=503 if failed else 200)
        sample.reason, sample.worker = ("queue_full", "") if failed else ("", f"worker-{index % 2}")
        sample.is_warmup, sample.is_reused, sample.stages = index < WARM_UP, index > 0, () if failed else STAGES
        sample.bytes_out, sample.bytes_in, sample.request_id = 4000, 300, f"{index:032x}"
        recorder.add(sample)
    return recorder.samples()


def example_run(samples: Samples) -> Run:
    occupancy = Occupancy(START_NS)
    for row in samples.rows:
        occupancy.enter(int(row["t_int"]), int(row["t_int"]))
        occupancy.leave(int(row["t_int"]))
    plan = Plan(Arrivals("constant", "constant, 100/s", partial(constant, 100), 10 * MS), duration_ns=5 * NS)
    start = START_NS + WARM_UP * 10 * MS
    end = START_NS + len(samples) * 10 * MS
    return Run(plan, samples, START_NS, start, end, end, False, occupancy)


def example_summary(samples: Samples) -> Summary:
    about = About("https://host/inference/x", "constant, 100/s", "constant", 100.0, 0, True, 10.0, 1, 10, 4000.0)
    return summarize(example_run(samples), about, {"cpu": "a"}, datetime(2026, 1, 1, tzinfo=UTC), [network()])


def network(late_us: float = 80.0, error: str = "") -> Summary:
    """What a run says of a relay in between; without its report if it ended badly."""
    way = {"late_us": {"p50": 1.0, "p99": late_us, "max": late_us}}
    return {
        "arm": "",
        "profile": "lte",
        "seed": 7,
        "text": "up 30 ms, down 30 ms",
        "adds_ms": {"p50": 0.1, "p99": 0.5},
        "relay": None if error else {"up": way, "down": way},
        "error": error,
    }
