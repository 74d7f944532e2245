"""The runs behind docs/explanation/dispatch-simulation.md: each study has its conditions and gives rows of numbers.

`scale` shortens every run for a quick look or a test; the page is made with 1. Nothing is measured on a clock but the
large run's own duration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from bench.simulation.baselines import ShortestExpectedDelay
from bench.simulation.engine import simulate
from bench.simulation.ideal import ideal_response_s
from bench.simulation.outcome import WARM_UP, Outcome, quantile
from bench.simulation.scenario import Loss, Scenario, Stall, Times, WorkerSpec, parse_fleet
from gateway.dispatch.policies import Policy

JOBS = 60_000
"""Of a run of the table: 540 of those counted are slower than the 99th percentile."""

MIXED = parse_fleet("2x8ms,4x80ms")
EQUAL = parse_fleet("6x40ms")
REAL = ("least_loaded", "least_conn", "power_of_two", "round_robin", "random")
"""The gateway's policies by name, less `pin`, which is least_loaded for jobs that name no worker."""

_TAKES_ANYTHING = 1 << 19
"""Slots that a server announces which queues whatever it is sent."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of a comparison."""

    label: str
    policy: str | Callable[[], Policy]
    binds_at_once: bool = False
    """The workers take whatever they are sent, so a job is bound when it arrives: what a plain balancer does."""

    def run(self, scenario: Scenario) -> Outcome:
        if self.binds_at_once:
            fleet = tuple(replace(worker, announced_slots=_TAKES_ANYTHING) for worker in scenario.fleet)
            scenario = replace(scenario, fleet=fleet)
        outcome = simulate(scenario, self.policy if isinstance(self.policy, str) else self.policy())
        assert not outcome.violations, (self.label, outcome.violations)
        return outcome


AT_ONCE = (
    *(Contender(f"{name}, bound at once", name, True) for name in REAL[:0:-1]),
    Contender("shortest expected delay, bound at once", ShortestExpectedDelay, True),
)
LATE = tuple(Contender(name, name) for name in REAL[::-1])
IDEAL = "ideal central queue, fastest idle first"


@cache
def ideal_steady_s(scenario: Scenario) -> Times:
    """Response times in the ideal central queue after the warm-up."""
    return ideal_response_s(scenario)[int(WARM_UP * scenario.jobs) :]


def ratio_to_ideal(outcome: Outcome, scenario: Scenario, q: float = 0.99) -> float:
    """Quantile over that of the ideal central queue with the same jobs."""
    return quantile(outcome.steady_s, q) / quantile(ideal_steady_s(scenario), q)


# ---- the table


def table_conditions(scale: float = 1.0) -> dict[str, Scenario]:
    """Heading -> scenario. The stall holds one fast worker up for 20 s, in the middle of the run."""
    jobs = int(JOBS * scale)
    stalled = Scenario(MIXED, 0.5, jobs)
    half_s = stalled.jobs / stalled.rate_per_s / 2
    return {
        "load 0.3": Scenario(MIXED, 0.3, jobs),
        "0.6": Scenario(MIXED, 0.6, jobs),
        "0.85": Scenario(MIXED, 0.85, jobs),
        "0.5, a fast one stalls": replace(stalled, stalls=(Stall(0, half_s, 20.0),)),
        "6 equal, 0.85": Scenario(EQUAL, 0.85, jobs),
    }


def shown(steady_s: Times, is_stable: bool, *, with_tail: bool) -> str:
    """One cell: p99, or p99 / p99.9, in ms."""
    if not is_stable:
        return "unstable"
    cell = f"{1e3 * quantile(steady_s, 0.99):.0f}"
    return f"{cell} / {1e3 * quantile(steady_s, 0.999):.0f}" if with_tail else cell


def table(progress: Progress, scale: float = 1.0) -> list[list[str]]:
    """Rows of the comparison: a label, then a cell for each condition. The ideal queue stands between the two kinds."""
    conditions = table_conditions(scale)
    rows = [["binding and policy", *conditions]]
    for contender in (*AT_ONCE, None, *LATE):
        label = contender.label if contender else IDEAL
        progress(label)
        row = [label]
        for scenario in conditions.values():
            with_tail = bool(scenario.stalls)
            if contender is None:
                row.append(shown(ideal_steady_s(scenario), True, with_tail=with_tail))
            else:
                outcome = contender.run(scenario)
                row.append(shown(outcome.steady_s, outcome.is_stable, with_tail=with_tail))
        rows.append(row)
    return rows


# ---- curves over load


@dataclass(frozen=True, slots=True)
class Curve:
    label: str
    x: list[float]
    y: list[float]


def over_load(
    base: Scenario, loads: Sequence[float], contenders: Sequence[Contender], progress: Progress
) -> Iterator[Curve]:
    """p99 in ms over load, of the ideal queue first; NaN where a run is unstable."""
    scenarios = [replace(base, load=load) for load in loads]
    ideal = [1e3 * quantile(ideal_steady_s(scenario), 0.99) for scenario in scenarios]
    yield Curve("ideal central queue", list(loads), ideal)
    for contender in contenders:
        progress(f"{contender.label} over load")
        outcomes = [contender.run(scenario) for scenario in scenarios]
        y = [outcome.quantile_ms(0.99) if outcome.is_stable else float("nan") for outcome in outcomes]
        yield Curve(contender.label, list(loads), y)


# ---- against the ideal


FLEETS = {
    "4 x 20 ms, next door": (parse_fleet("4x20ms"), "constant"),
    "4 x 20 ms, 1 ms away": (parse_fleet("4x20ms@1ms"), "constant"),
    "4 x 20 ms, 10 ms away": (parse_fleet("4x20ms@10ms"), "constant"),
    "6 x 40 ms, 10 ms away, exponential": (parse_fleet("6x40ms@10ms"), "exponential"),
    "6 x 40 ms, 10 ms away, bimodal": (parse_fleet("6x40ms@10ms"), "bimodal"),
    "3 x 100 ms with 4 slots, 20 ms away": (parse_fleet("3x100ms/4@20ms"), "erlang4"),
    "300 x 50 ms, 10 ms away, exponential": (parse_fleet("300x50ms@10ms"), "exponential"),
    "2 x 8 ms and 4 x 80 ms, exponential": (MIXED, "exponential"),
    "200 mixed, lognormal": (parse_fleet("40x8ms@5ms,100x40ms@10ms,60x80ms@20ms"), "lognormal"),
}


def against_ideal(progress: Progress, scale: float = 1.0) -> list[list[str]]:
    """p50 and p99 over the ideal queue's, for two policies, two loads, and every kind of fleet."""
    rows = [["workers", "load", "least_loaded: p50", "p99", "least_conn: p50", "p99"]]
    for label, (fleet, service) in FLEETS.items():
        progress(label)
        for load in (0.7, 0.85):
            scenario = Scenario(fleet, load, int(JOBS * scale), service=service)
            row = [label, f"{load:g}"]
            for policy in REAL[:2]:
                outcome = Contender(policy, policy).run(scenario)
                row += [f"{ratio_to_ideal(outcome, scenario, q):.2f}" for q in (0.5, 0.99)]
            rows.append(row)
    return rows


def target(progress: Progress, scale: float = 1.0, seeds: Sequence[int] = (1, 2, 3, 4, 5)) -> list[list[str]]:
    """Four one-at-a-time workers of 20 ms at load 0.7: least and greatest p99 ratio to the ideal over the seeds."""
    rows = [["round trip", *REAL[:2], "random, bound at once"]]
    contenders = (*(Contender(name, name) for name in REAL[:2]), AT_ONCE[0])
    for rtt_ms in (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0):
        progress(f"round trip {rtt_ms:g} ms")
        row = [f"{rtt_ms:g} ms"]
        for contender in contenders:
            ratios = []
            for seed in seeds:
                scenario = Scenario((WorkerSpec(0.020, rtt_s=rtt_ms / 1e3),) * 4, 0.7, int(JOBS * scale), seed)
                ratios.append(ratio_to_ideal(contender.run(scenario), scenario))
            row.append(f"{min(ratios):.2f} to {max(ratios):.2f}")
        rows.append(row)
    return rows


# ---- what goes wrong


def stall_over_time(progress: Progress, scale: float = 1.0) -> tuple[Stall, list[Curve]]:
    """The slowest answer to the jobs of each half second, in ms, around the stall of one fast worker."""
    scenario = table_conditions(scale)["0.5, a fast one stalls"]
    (stall,) = scenario.stalls
    edges = np.arange(stall.at_s - 5, stall.at_s + stall.lasts_s + 10, 0.5)
    curves = []
    for contender in (LATE[4], LATE[3], AT_ONCE[3], AT_ONCE[4]):
        progress(f"{contender.label} and a stall")
        outcome = contender.run(scenario)
        bins = np.digitize(outcome.arrivals_s, edges)
        worst = [_slowest_ms(outcome.response_s[bins == one]) for one in range(1, len(edges))]
        curves.append(Curve(contender.label, [float(edge - stall.at_s) for edge in edges[:-1]], worst))
    return stall, curves


def _slowest_ms(response_s: Times) -> float:
    return 1e3 * float(np.nanmax(response_s)) if response_s.size else float("nan")


def losses(progress: Progress, scale: float = 1.0) -> list[list[str]]:
    """A fast worker dies ten times and comes back each time, its death noticed at once or by its silence."""
    rows = [["death noticed after", "jobs", "answered", "made up for elsewhere", "errors", "p99 ms", "slowest ms"]]
    for noticed_s in (0.0, 1.0, 5.0):
        progress(f"losses noticed after {noticed_s:g} s")
        scenario = Scenario(MIXED, 0.5, int(JOBS * scale), service="exponential")
        gap_s = scenario.jobs / scenario.rate_per_s / 11
        deaths = tuple(Loss(0, gap_s * (one + 1), noticed_s, back_after_s=2.0) for one in range(10))
        outcome = Contender("least_loaded", "least_loaded").run(replace(scenario, losses=deaths))
        answered = outcome.outcomes["answered"]
        counts = [scenario.jobs, answered, outcome.retried, scenario.jobs - answered]
        slowest = 1e3 * float(outcome.steady_s.max())
        row = [f"{noticed_s:g} s", *(f"{count:,}" for count in counts), f"{outcome.quantile_ms(0.99):.0f}"]
        rows.append([*row, f"{slowest:.0f}"])
    return rows


LARGE = parse_fleet("2000x8ms@5ms,5000x40ms@10ms,3000x80ms@20ms")


def large(progress: Progress, scale: float = 1.0) -> list[list[str]]:
    """Ten thousand workers, a million jobs."""
    rows = [["policy", "workers", "jobs", "p50 ms", "p99 ms", "jobs per second of real time", "took"]]
    scenario = Scenario(LARGE, 0.7, int(1_000_000 * scale), service="lognormal")
    for policy in REAL[:2]:
        progress(f"{len(LARGE)} workers, {scenario.jobs} jobs, {policy}")
        outcome = Contender(policy, policy).run(scenario)
        speed = scenario.jobs / outcome.wall_s
        numbers = [f"{outcome.quantile_ms(0.5):.1f}", f"{outcome.quantile_ms(0.99):.0f}", f"{speed:,.0f}"]
        rows.append([policy, f"{len(LARGE):,}", f"{scenario.jobs:,}", *numbers, f"{outcome.wall_s:.0f} s"])
    return rows
