"""The simulator against arithmetic: what is computed by hand comes out, and the gateway's own core keeps its
promises."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.simulation.engine import simulate
from bench.simulation.ideal import ideal_response_s
from bench.simulation.scenario import SERVICES, Join, Loss, Scenario, Stall, WorkerSpec, parse_fleet
from bench.simulation.worker import SimWorker, finish
from gateway.dispatch.policies import POLICIES

ONE = parse_fleet("10ms")
MIXED = parse_fleet("2x8ms@1ms,3x80ms/2@10ms")


def erlang_c_wait_s(servers: int, service_s: float, load: float) -> float:
    """Mean wait of M/M/c: C(c, a) x service / (c (1 - load)), with a = c x load (Erlang 1917)."""
    offered = servers * load
    terms = [offered**k / math.factorial(k) for k in range(servers + 1)]
    last = terms[-1] / (1 - load)
    return last / (sum(terms[:-1]) + last) * service_s / (servers * (1 - load))


def test_one_constant_server_is_pollaczek_khinchine() -> None:
    """M/D/1 at load 0.5: the mean wait is load x service / (2 (1 - load)) = 5 ms, so the mean response 15 ms."""
    outcome = simulate(Scenario(ONE, 0.5, jobs=20_000), "round_robin")
    assert outcome.steady_s.mean() == pytest.approx(0.015, rel=0.03)
    assert outcome.steady_s.min() == pytest.approx(0.010)


def test_many_exponential_servers_are_erlang_c() -> None:
    """M/M/4 at load 0.8: the mean response is a service and Erlang's wait, in the ideal queue and through the core."""
    scenario = Scenario(parse_fleet("4x10ms"), 0.8, jobs=40_000, service="exponential")
    expected_s = 0.010 + erlang_c_wait_s(4, 0.010, 0.8)
    assert expected_s == pytest.approx(0.017455, abs=1e-6)
    assert ideal_response_s(scenario).mean() == pytest.approx(expected_s, rel=0.05)
    assert simulate(scenario, "least_conn").steady_s.mean() == pytest.approx(expected_s, rel=0.05)


def test_late_binding_without_a_round_trip_is_the_ideal_queue() -> None:
    """Equal workers next door: every policy answers each job exactly when the ideal central queue does."""
    scenario = Scenario(parse_fleet("4x20ms"), 0.9, jobs=2_000)
    for policy in POLICIES:
        assert simulate(scenario, policy).response_s == pytest.approx(ideal_response_s(scenario)), policy


@pytest.mark.parametrize("service", SERVICES)
def test_service_times_have_mean_one(service: str) -> None:
    """Every distribution's factors have the mean 1, or loads would not mean what they say."""
    factors = SERVICES[service](np.random.default_rng(1), 200_000)
    assert factors.mean() == pytest.approx(1, rel=0.02)
    assert factors.min() > 0


def test_round_trip_and_slots() -> None:
    """Three jobs at once for two slots, 10 ms away: two take 10 + 20 ms, the third the same and another 20 ms."""
    worker = SimWorker("w", WorkerSpec(0.020, slots=2, rtt_s=0.010))
    assert [worker.work(1.0, 1.0)[0] for _ in range(3)] == pytest.approx([1.030, 1.030, 1.050])


def test_stall_holds_work_up() -> None:
    """Work that a stall falls into ends later by the stall; work that began in it by what was left of it."""
    stalls = [Stall(0, at_s=1.0, lasts_s=0.5)]
    assert finish(0.9, 0.05, stalls) == pytest.approx(0.95)
    assert finish(0.9, 0.2, stalls) == pytest.approx(1.6)
    assert finish(1.2, 0.2, stalls) == pytest.approx(1.7)
    assert finish(1.5, 0.2, stalls) == pytest.approx(1.7)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("service", ["constant", "exponential"])
def test_promises_are_kept(policy: str, service: str) -> None:
    """Slots, round trips, a stall, two losses, one noticed late, a return and a late worker: no promise is broken, and
    every job has one end."""
    scenario = Scenario(
        MIXED,
        0.7,
        jobs=3_000,
        service=service,
        arrivals="burst",
        stalls=(Stall(1, 2.0, 1.0),),
        losses=(Loss(0, 1.0, noticed_after_s=0.2, back_after_s=1.0), Loss(3, 3.0)),
        joins=(Join(WorkerSpec(0.008), 4.0),),
        deadline_s=2.0,
        max_queue_jobs=100,
    )
    outcome = simulate(scenario, policy)
    assert outcome.violations == []
    assert sum(outcome.outcomes.values()) == scenario.jobs
    assert outcome.outcomes["answered"] == np.count_nonzero(~np.isnan(outcome.response_s)) > 0.8 * scenario.jobs
    assert outcome.retried > 0
    assert outcome.assigned["w5"] > 0


def test_deadlines_end_jobs() -> None:
    """Twice the load and a deadline: what is late ends as deadline_exceeded, waiting or running, and is ended once."""
    outcome = simulate(Scenario(ONE, 2.0, jobs=500, deadline_s=0.05), "least_loaded")
    assert outcome.violations == []
    assert outcome.outcomes["deadline_exceeded"] > 100
    assert np.nanmax(outcome.response_s) <= 0.05


def test_full_queue_refuses() -> None:
    """Twice the load and a queue of 10: about half is refused, and nobody waits longer than the queue and one."""
    outcome = simulate(Scenario(ONE, 2.0, jobs=2_000, max_queue_jobs=10))
    assert outcome.violations == []
    assert outcome.outcomes["queue_full"] == pytest.approx(1_000, rel=0.1)
    assert np.nanmax(outcome.response_s) <= 0.010 * 12
    assert outcome.most_waiting == 10


def test_a_seed_repeats_a_run() -> None:
    """The same seed gives the same times to the last bit; another one gives others."""
    first, second, other = (
        simulate(Scenario(MIXED, 0.8, jobs=500, seed=seed, service="lognormal"), "power_of_two").response_s
        for seed in (7, 7, 8)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_overload_is_called_unstable() -> None:
    """A run whose backlog grows to its end is unstable; one at nine tenths is not."""
    assert not simulate(Scenario(ONE, 1.1, jobs=4_000)).is_stable
    assert simulate(Scenario(ONE, 0.9, jobs=4_000)).is_stable


def test_fleets_are_read() -> None:
    """Groups of workers are read with their counts, slots and round trips; anything else is an error that shows how."""
    assert parse_fleet("8ms,2x80ms/4@10.5ms") == (WorkerSpec(0.008), *[WorkerSpec(0.08, 4, 0.0105)] * 2)
    for text in ("", "8", "0ms", "2x8ms/0", "x8ms", "8ms,"):
        with pytest.raises(ValueError, match="4x80ms/2@10ms"):
            parse_fleet(text)
