"""Scaling and the central queue: what their steps say, on paper."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bench.flags import Settings
from bench.scenarios import central_queue, scaling
from bench.scenarios.central_queue import GATEWAY, GATEWAY_LOW, NGINX, ideal_ms
from bench.scenarios.plans import closed, poisson
from bench.scenarios.study import Step, Study
from bench.simulation.engine import simulate
from bench.simulation.ideal import ideal_response_s
from bench.simulation.scenario import Scenario, WorkerSpec
from tests.support.studies import BASE, flags_of, steps_of
from tests.support.virtual_time import KnownServer, VirtualClock

DURATION = {"duration_s": 10.0, "warm_up_s": 0}


async def run_all(study: Study, runs: list[tuple[str, Settings]]) -> None:
    for place, (role, settings) in enumerate(runs):
        await study.run(f"{place}-{role}", settings, role=role)


async def test_efficiency_is_by_one_worker() -> None:
    """One worker does 100 a second, two do 150: their efficiency is 0.75, and each p99 is of its own open loop."""
    runs = [
        (scaling.FULL, closed(BASE, 1, **DURATION)),
        (scaling.PART, poisson(BASE, 70, 1, **DURATION)),
        (scaling.FULL, closed(BASE, 3, **DURATION)),
        (scaling.PART, poisson(BASE, 105, 1, **DURATION)),
    ]
    flags = flags_of(scaling.SCENARIO)
    steps = await steps_of(
        lambda study, _base, _flags: run_all(study, runs),
        flags,
        lambda clock, settings: KnownServer(clock, lambda _: 20 if settings.connections == 3 else 10),
    )
    found = scaling.findings(steps, flags)
    one, two = found.values["rows"]
    assert (one["workers"], one["per_second"], one["efficiency"]) == (1, pytest.approx(100, rel=0.01), 1)
    assert (two["per_second"], two["efficiency"]) == (pytest.approx(150, rel=0.01), pytest.approx(0.75, rel=0.01))
    assert (one["p99_ms"], two["p99_rate"]) == (10, 105)
    assert scaling.findings(steps[:3], flags).values["rows"][1]["p99_ms"] is None
    assert not scaling.findings([], flags).is_answered


def test_the_ideal_queue_on_paper() -> None:
    """Five at once and one after 29 ms, two servers of 10 ms: 10, 10, 20, 20, 30, and 10 for the last. Then with times
    of their own."""
    arrivals = np.array([0, 0, 0, 0, 0, 29]) * 1_000_000 + 5_000
    assert ideal_ms(arrivals, 10, 2) == pytest.approx([10, 10, 20, 20, 30, 10])
    assert ideal_ms(arrivals, np.array([10.0, 30, 5, 10, 10, 10]), 2) == pytest.approx([10, 30, 15, 25, 35, 11])
    assert ideal_ms(arrivals[:0], 10, 2).tolist() == []


def test_the_ideal_queue_is_the_simulator_s() -> None:
    """The same as the one that was written for the simulator."""
    scenario = Scenario(fleet=(WorkerSpec(0.02),) * 4, load=0.7, jobs=2000, seed=3)
    arrivals, factors = scenario.draw()
    ours = ideal_ms(np.round(arrivals * 1e9).astype(np.int64), factors * 20, 4)
    assert ours == pytest.approx(ideal_response_s(scenario) * 1e3, abs=1e-3)


def test_fewest_connections_are_nearly_the_ideal_queue_for_equal_work() -> None:
    """Four servers that take whatever they are sent and need the same time for each: least_conn's p99 is at most a
    tenth above the ideal queue's, so no dispatcher can have half of it."""
    scenario = Scenario(fleet=(WorkerSpec(0.02, announced_slots=64),) * 4, load=central_queue.HIGH, jobs=10_000)
    ideal_p99_s = np.quantile(ideal_response_s(scenario)[1000:], 0.99, method="inverted_cdf")
    ratio = simulate(scenario, "least_conn").quantile_ms(0.99) / (1e3 * ideal_p99_s)
    assert 1 <= ratio < 1.1


@pytest.mark.parametrize("service", ["exponential", "lognormal", "bimodal"])
def test_binding_at_once_costs_a_fifth_for_unequal_work(service: str) -> None:
    """Where requests differ in length, least_conn's p99 is 1.1 to 1.4 times the ideal queue's, and that of late binding
    is within a hundredth of it."""
    at_once = Scenario((WorkerSpec(0.02, announced_slots=64),) * 4, central_queue.HIGH, 10_000, service=service)
    late = dataclasses.replace(at_once, fleet=(WorkerSpec(0.02),) * 4)
    ideal_p99_ms = 1e3 * np.quantile(ideal_response_s(late)[1000:], 0.99, method="inverted_cdf")
    assert 1.1 < simulate(at_once, "least_conn").quantile_ms(0.99) / ideal_p99_ms < 1.4
    assert 0.99 < simulate(late, "least_loaded").quantile_ms(0.99) / ideal_p99_ms < 1.01


async def central_steps(latency_ms: dict[str, float]) -> list[Step]:
    runs = [(role, dataclasses.replace(poisson(BASE, 140, 1, **DURATION), name=role)) for role in latency_ms]

    def server(clock: VirtualClock, settings: Settings) -> KnownServer:
        return KnownServer(clock, lambda _: latency_ms[settings.name])

    flags = flags_of(central_queue.SCENARIO)
    return await steps_of(lambda study, _base, _flags: run_all(study, runs), flags, server)


async def test_the_ratios() -> None:
    """Arms of constant 60, 50 and 100 ms: the second ratio is 0.5, the first 60 by the ideal queue's p99."""
    steps = await central_steps({GATEWAY_LOW: 60, GATEWAY: 50, NGINX: 100})
    flags = flags_of(central_queue.SCENARIO)
    found = central_queue.findings(steps, flags)
    t_int = steps[0].run.samples.column("t_int")
    ideal = np.sort(ideal_ms(t_int, 20, 4))[int(np.ceil(0.99 * len(t_int))) - 1]
    assert found.values["to_ideal"] == pytest.approx(60 / ideal)
    assert found.values["to_nginx"] == 0.5
    assert found.values["ideal_to_nginx"] == pytest.approx(ideal / 100)
    assert [row[3] for row in found.grids[2].rows] == ["missed" if 60 / ideal > 1.15 else "met", "met"]
    assert found.is_answered


async def test_a_bound_that_nothing_can_meet_is_named() -> None:
    """Where nginx is nearly the ideal queue itself, it is said that half of it is out of reach."""
    found = central_queue.findings(
        await central_steps({GATEWAY_LOW: 60, GATEWAY: 50, NGINX: 51}), flags_of(central_queue.SCENARIO)
    )
    assert any("no dispatcher could have come below that" in note for note in found.notes)


async def test_an_arm_that_is_missing() -> None:
    """Interrupted before nginx: the first ratio is there, the second is not, and the question is not answered."""
    steps = await central_steps({GATEWAY_LOW: 60, GATEWAY: 50})
    found = central_queue.findings(steps, flags_of(central_queue.SCENARIO))
    assert found.values["to_ideal"] is not None
    assert found.values["to_nginx"] is None
    assert not found.is_answered
