"""A ladder of rates, and its knee: where more load stops being worth its delay.

Each rung is an open loop of Poisson arrivals. The knee is the rung with the most power, answered requests per second by
mean response time (Kleinrock 1979): below it the server idles, above it requests mostly wait for each other. A rung is
sustained when at least 95 % of what was offered was answered in time; the ladder ends with the first that is not.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bench.errors import BenchError
from bench.flags import Settings, count, positive
from bench.scenarios.plans import poisson
from bench.scenarios.scenario import Findings, Grid, Scenario, add_address_flags, at_address, notes_of, percentile_of
from bench.scenarios.study import Step, Study

SUSTAINED = 0.95


def rungs(lowest: float, highest: float, number: int) -> list[float]:
    """Rates at equal ratios. Raises BenchError where they would not ascend."""
    if number > 1 and highest <= lowest:
        raise BenchError(f"--to {highest:g} is not above --from {lowest:g}")
    return [lowest * (highest / lowest) ** (place / max(1, number - 1)) for place in range(number)]


def is_sustained(step: Step) -> bool:
    """Whether the server answered what it was offered, during the run and not after it."""
    flow = step.summary["rates"]
    return bool(flow["succeeded"] and flow["achieved"] >= SUSTAINED * flow["offered"])


def power(step: Step) -> float:
    """Answered requests per second by mean response time in seconds; 0 without an answer."""
    mean_ms = step.summary["response_ms"]["mean"]
    return float(step.summary["rates"]["achieved"]) / (mean_ms / 1e3) if mean_ms else 0.0


def add_flags(made: argparse.ArgumentParser) -> None:
    how = add_address_flags(made)
    how.add_argument("--from", dest="lowest", type=positive, default=10.0, metavar="RATE", help="(default: 10)")
    how.add_argument("--to", dest="highest", type=positive, default=640.0, metavar="RATE", help="(default: 640)")
    how.add_argument("--rungs", type=count, default=13, metavar="N", help="at equal ratios (default: 13)")
    how.add_argument("--duration", type=positive, default=10.0, metavar="S", help="of each rung (default: 10)")


async def measure(study: Study, base: Settings, flags: argparse.Namespace) -> None:
    for place, rate in enumerate(rungs(flags.lowest, flags.highest, flags.rungs)):
        settings = poisson(base, rate, flags.seed + place, duration_s=flags.duration, warm_up_s=flags.warm_up)
        if not is_sustained(await study.run(f"{place + 1:02}-{rate:.4g}", settings)):
            return


def findings(steps: Sequence[Step], flags: argparse.Namespace) -> Findings:
    """Every rung, the knee, and the highest rate that was sustained."""
    knee = max(steps, key=power, default=None)
    sustained = [step for step in steps if is_sustained(step)]
    values = {
        "knee_rate": knee and knee.summary["run"]["rate"],
        "highest_sustained_rate": sustained[-1].summary["run"]["rate"] if sustained else None,
        "rungs": [_values(step) for step in steps],
    }
    rows = [_row(step, step is knee) for step in steps]
    columns = ("rate", "answered /s", "p50, ms", "p99, ms", "power", "")
    notes = notes_of(steps)
    if steps and is_sustained(steps[-1]):
        notes.insert(0, "no rung was too high: the server can do more than --to")
    return Findings(values, [Grid("ladder", columns, rows)], notes, bool(sustained))


def _values(step: Step) -> dict[str, object]:
    return {
        "rate": step.summary["run"]["rate"],
        "achieved": step.summary["rates"]["achieved"],
        "p50_ms": percentile_of(step, "p50"),
        "p99_ms": percentile_of(step, "p99"),
        "power": power(step),
        "is_sustained": is_sustained(step),
    }


def _row(step: Step, is_knee: bool) -> tuple[str, ...]:
    values = (percentile_of(step, "p50"), percentile_of(step, "p99"))
    return (
        f"{step.summary['run']['rate']:.4g}",
        f"{step.summary['rates']['achieved']:.2f}",
        *("n too small" if value is None else f"{value:.4g}" for value in values),
        f"{power(step):.4g}",
        "knee" if is_knee else "" if is_sustained(step) else "not sustained",
    )


SCENARIO = Scenario(
    "ladder",
    "latency at rising rates, and the knee",
    add_flags,
    at_address(measure),
    findings,
)
