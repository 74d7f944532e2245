"""Who is here, what they may hold, whether they are fit."""

from __future__ import annotations

import math

import pytest

from gateway.dispatch import core, probing
from gateway.dispatch.effects import Failure
from gateway.dispatch.fleet import Verdict
from gateway.dispatch.model import LoadReport
from gateway.dispatch.replica import State
from gateway.errors import UnknownModel
from tests.support.core_driver import CoreDriver
from tests.support.fake_link import FakeLink, offer

# ---- readiness


def test_ready_only_after_a_real_inference() -> None:
    """A worker takes jobs for a model only after an inference on it has succeeded."""
    driver = CoreDriver()
    driver.join(FakeLink("a"))
    ticket = driver.submit()
    assert driver.running == []
    driver.prove(0.01)
    assert driver.running == [ticket]


def test_failed_first_probe() -> None:
    """A worker whose first probe fails stays out and is probed again after a while, no sooner."""
    driver = CoreDriver(probe_retry_s=1.0)
    driver.join(FakeLink("a"))
    driver.prove(None, "no memory")
    assert driver.replica("a").state is State.PROBING
    assert "no memory" in driver.replica("a").reason
    driver.pass_time(0.9)
    assert driver.probes == []
    driver.pass_time(0.5)
    assert [replica.worker for replica in driver.probes] == ["a"]


@pytest.mark.parametrize("claim", [math.nan, math.inf, -1.0])
def test_implausible_probe(claim: float) -> None:
    """A probe that claims an impossible time has failed."""
    driver = CoreDriver()
    driver.join(FakeLink("a"))
    driver.prove(claim)
    assert driver.replica("a").state is State.PROBING


def test_one_probe_at_a_time() -> None:
    """A worker's models are probed one after the other, not to slow each other down."""
    driver = CoreDriver()
    driver.join(FakeLink("a"), "m", "n")
    assert [replica.offer.name for replica in driver.probes] == ["m"]
    driver.prove()
    assert [replica.offer.name for replica in driver.probes] == ["n"]


def test_idle_worker_is_probed() -> None:
    """A ready worker that was not heard of for a while is probed, so that its estimate stays alive."""
    driver = CoreDriver(probe_idle_s=3.0)
    replica = driver.add("a", 0.010)
    driver.pass_time(2.9)
    assert driver.probes == []
    driver.pass_time(0.5)
    assert driver.probes == [replica]
    driver.prove(0.050)
    assert 0.010 < replica.service_s < 0.050


def test_many_idle_workers_share_the_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are more than can be probed each 3 s, each is probed as often as all of them may be."""
    monkeypatch.setattr(probing, "IDLE_PROBES_PER_S", 1)
    driver = CoreDriver(probe_idle_s=3.0)
    for number in range(5):
        driver.add(f"w{number}")
    driver.pass_time(4.7)
    assert driver.probes == []
    driver.pass_time(0.5)
    assert len(driver.probes) == 5


def test_probes_of_many_workers_are_looked_for_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """One tick looks at a part of them, and a few ticks at all."""
    monkeypatch.setattr(core, "LOOKED_AT", 2)
    driver = CoreDriver(probe_idle_s=3.0, tick_s=0.25)
    for number in range(5):
        driver.add(f"w{number}")
    driver.pass_time(3.01)
    assert 0 < len(driver.probes) < 5
    driver.pass_time(0.5)
    assert len(driver.probes) == 5


def test_busy_worker_is_not_probed() -> None:
    """A worker that has a job is not probed."""
    driver = CoreDriver(probe_idle_s=3.0)
    driver.add("a")
    driver.submit()
    driver.pass_time(10.0)
    assert driver.probes == []


def test_no_idle_probes() -> None:
    """An idle time of 0 never probes a ready worker again."""
    driver = CoreDriver(probe_idle_s=0.0)
    driver.add("a")
    driver.pass_time(100.0)
    assert driver.probes == []


def test_broken_offer() -> None:
    """A model that its worker cannot serve is shown with its reason, is not probed, and is once it is mended."""
    driver = CoreDriver()
    link = FakeLink("a")
    driver.core.join(link, [offer("m", failure="labels.txt is missing"), offer("n", slots=0)], driver.now)
    driver.advance()
    assert driver.probes == []
    assert driver.replica("a").reason == "labels.txt is missing"
    assert driver.replica("a", "n").state is State.BROKEN
    driver.core.update(link, [offer("m")], driver.now)
    driver.advance()
    assert driver.probes == [driver.replica("a")]
    driver.prove()
    driver.core.update(link, [offer("m", failure="engine lost")], driver.now)
    assert driver.replica("a").state is State.BROKEN


def test_new_version_is_proven_anew() -> None:
    """A changed version is a new model: not ready before a probe, whatever the old one was."""
    driver = CoreDriver()
    old = driver.add("a")
    ticket = driver.submit()
    driver.core.update(old.link, [offer("m", version="2")], driver.now)
    driver.advance()
    new = driver.replica("a")
    assert (old.state, new.state) == (State.GONE, State.PROBING)
    driver.answer(ticket)
    assert (old.outstanding, new.outstanding) == (0, 0)


def test_withdrawn_model() -> None:
    """A model that a worker withdraws gets no further job there; the model is remembered."""
    driver = CoreDriver()
    replica = driver.add("a")
    driver.core.update(replica.link, [offer("other")], driver.now)
    driver.advance()
    driver.submit()
    assert driver.running == []
    with pytest.raises(UnknownModel):
        driver.submit("never announced")


def test_bound_of_models() -> None:
    """Models over the bound are refused, so that no worker can fill the memory with names."""
    driver = CoreDriver(max_models=2)
    driver.join(FakeLink("a"), "m", "n", "o")
    assert set(driver.core.fleet.pools) == {"m", "n"}
    assert ("a", "o", "refused", "2 models were announced already") in driver.observer.changes


# ---- credits


@pytest.mark.parametrize(
    ("slots", "rtt_s", "service_s", "credits"), [(1, 0.0, 0.008, 1), (1, 0.020, 0.008, 4), (4, 0.001, 0.008, 5)]
)
def test_credits(slots: int, rtt_s: float, service_s: float, credits: int) -> None:
    """A worker may hold its slots and what it could finish within a round trip."""
    assert CoreDriver().add("a", service_s, slots=slots, rtt_s=rtt_s).credits == credits


def test_bound_of_credits() -> None:
    """However far away a worker is, only so many jobs are sent ahead of it."""
    assert CoreDriver(max_credits_ahead=16).add("a", 0.0001, rtt_s=1.0).credits == 17


def test_variation_adds_credits() -> None:
    """A worker whose times vary may hold more, or it would idle for a round trip whenever its jobs were short."""
    driver = CoreDriver()
    replica = driver.add("a", 0.010, rtt_s=0.010)
    assert replica.credits == 2
    replica.spread_s = 0.005
    driver.core.load(replica.link, LoadReport(0, 0), driver.now)
    assert replica.credits == 3


def test_variation_counts_by_the_way() -> None:
    """A worker next door gets one job ahead however much its times vary: more would only stand behind a long one."""
    driver = CoreDriver()
    replica = driver.add("a", 0.010, rtt_s=0.002)
    replica.spread_s = 0.015
    driver.core.load(replica.link, LoadReport(0, 0), driver.now)
    assert replica.credits == 2


def test_round_trip_is_followed() -> None:
    """A worker's credits follow its round trip as its tunnel measures it."""
    driver = CoreDriver()
    link = FakeLink("a")
    driver.join(link)
    driver.prove(0.010)
    replica = driver.replica("a")
    replica.allowance = 10
    link.rtt_s = 0.030
    driver.core.load(link, LoadReport(0, 0), driver.now)
    assert replica.credits == 4


def test_slow_start() -> None:
    """A new worker begins with one job at a time and gets one more with each success."""
    driver = CoreDriver()
    replica = driver.add("a", slots=3, warm=False)
    tickets = [driver.submit() for _ in range(6)]
    counts = []
    for ticket in tickets:
        counts.append(replica.outstanding)
        driver.answer(ticket)
    assert counts[:4] == [1, 2, 3, 3]


def test_refusal_starts_slowly_again() -> None:
    """A worker that refuses a job is trusted with one at a time again."""
    driver = CoreDriver()
    replica = driver.add("a", slots=4)
    tickets = [driver.submit() for _ in range(4)]
    assert replica.credits == 4
    driver.fail(tickets[0], Failure.REFUSED)
    assert replica.credits == 1


def test_expected_start() -> None:
    """A job would start when a slot is free: at once, or after the rest of the running work and what waits there."""
    driver = CoreDriver()
    replica = driver.add("a", 0.040, rtt_s=0.060)
    driver.now += 5.0
    assert replica.starts_at(driver.now) == driver.now
    first, _ = driver.submit(), driver.submit()
    driver.now += 0.030
    assert replica.starts_at(driver.now) == pytest.approx(driver.now + 0.010 + 0.040)
    driver.now += 0.005
    driver.answer(first)
    assert replica.starts_at(driver.now) == pytest.approx(driver.now + 0.040)
    assert replica.cost_s(driver.now) == pytest.approx(0.040 + 0.040 + 0.060)


# ---- ejection


def failing(driver: CoreDriver, times: int) -> None:
    """Jobs that fail on the fast worker; each is then answered by the other one."""
    for _ in range(times):
        ticket = driver.submit()
        assert driver.workers() == ["bad"]
        driver.fail(ticket, Failure.FAILED)
        driver.answer(ticket)


def test_ejection() -> None:
    """Consecutive failures eject a worker; after its time a probe brings it back, slowly."""
    driver = CoreDriver(eject_after=3, eject_base_s=2.0, probe_idle_s=0.0)
    bad, _ = driver.add("bad", 0.001, slots=4), driver.add("good", 0.1)
    failing(driver, 2)
    assert bad.state is State.READY
    failing(driver, 1)
    assert bad.state is State.EJECTED
    driver.submit()
    assert driver.workers() == ["good"]
    driver.pass_time(1.9)
    assert driver.probes == []
    driver.pass_time(0.5)
    assert driver.probes == [bad]
    driver.prove(0.001)
    assert (bad.state, bad.credits) == (State.READY, 1)


def test_success_forgets_failures() -> None:
    """Only failures in a row count."""
    driver = CoreDriver(eject_after=3)
    bad, _ = driver.add("bad", 0.001), driver.add("good", 0.1)
    for _ in range(3):
        failing(driver, 2)
        driver.answer(driver.submit())
    assert bad.state is State.READY


def test_ejections_double() -> None:
    """Each further ejection lasts twice as long, up to a bound."""
    driver = CoreDriver(eject_after=1, eject_base_s=2.0, eject_max_s=10.0, probe_idle_s=0.0)
    bad, _ = driver.add("bad", 0.001), driver.add("good", 0.1)
    failing(driver, 1)
    times = [bad.ejected_until - driver.now]
    for _ in range(4):
        driver.pass_time(times[-1] + driver.settings.tick_s)
        driver.prove(None, "still bad")
        times.append(bad.ejected_until - driver.now)
    assert times == pytest.approx([2.0, 4.0, 8.0, 10.0, 10.0])


def test_ejections_are_forgotten() -> None:
    """A worker that stayed ready as long as the longest ejection starts again with the shortest."""
    driver = CoreDriver(eject_after=1, eject_base_s=2.0, eject_max_s=10.0, probe_idle_s=0.0)
    bad, _ = driver.add("bad", 0.001), driver.add("good", 0.1)
    failing(driver, 1)
    driver.pass_time(3.0)
    driver.prove(0.001)
    driver.pass_time(11.0)
    failing(driver, 1)
    assert bad.ejected_until - driver.now == pytest.approx(2.0)


def test_last_worker_is_never_ejected() -> None:
    """The last ready worker of a model is kept, however often it fails, and the view says so."""
    driver = CoreDriver(eject_after=2)
    bad = driver.add("bad", 0.001)
    for _ in range(5):
        driver.fail(driver.submit(), Failure.FAILED)
    assert bad.state is State.READY
    assert "no other worker is ready" in bad.reason
    driver.answer(driver.submit())
    assert bad.reason == "an inference succeeded"


def test_failed_idle_probes_eject() -> None:
    """A worker that answers no probe any more is ejected, though it never failed a job."""
    driver = CoreDriver(eject_after=2, probe_idle_s=1.0, probe_retry_s=1.0)
    bad, _ = driver.add("bad", 0.001), driver.add("good", 0.1)
    for _ in range(2):
        driver.pass_time(2.0)
        driver.prove(None, "no answer", only=bad)
        driver.prove(0.1)
    assert bad.state is State.EJECTED


def test_wedged_worker() -> None:
    """A job that dies at its deadline counts against a worker that had ten times its usual time, else it does not."""
    driver = CoreDriver(eject_after=1)
    bad, _ = driver.add("bad", 0.010), driver.add("good", 0.100)
    driver.submit(deadline_s=0.05)
    driver.pass_time(0.06)
    assert bad.state is State.READY
    driver.submit(deadline_s=1.0)
    assert driver.workers() == ["bad"]
    driver.pass_time(1.1)
    assert bad.state is State.EJECTED


def test_losing_a_tunnel_is_no_failure() -> None:
    """A lost tunnel, a client that leaves and bad input say nothing of the worker's health."""
    driver = CoreDriver(eject_after=1)
    bad, _ = driver.add("bad", 0.001), driver.add("good", 0.1)
    driver.fail(driver.submit(), Failure.LOST)
    driver.cancel(driver.running[0])
    driver.cancel(driver.submit())
    assert (bad.state, bad.failures) == (State.READY, 0)


# ---- estimates


def test_recovered_worker_is_found_again() -> None:
    """The estimate of a worker that is not used moves to the pool's best within seconds, so it is tried again."""
    driver = CoreDriver(probe_idle_s=0.0, decay_s=5.0)
    fast, slow = driver.add("fast", 0.010), driver.add("was slow", 0.200)
    driver.pass_time(20.0)
    assert fast.service_s == pytest.approx(0.010)
    assert slow.service_s < 0.015


def test_decay_ends_near_the_best() -> None:
    """An estimate within a hundredth of the best stays where it is: the pool keeps its order, and a tick its time."""
    driver = CoreDriver(probe_idle_s=0.0, decay_s=5.0)
    driver.add("fast", 0.010)
    near, far = driver.add("near", 0.0100999), driver.add("far", 0.0102)
    driver.pass_time(20.0)
    assert near.service_s == 0.0100999
    assert 0.010 < far.service_s < 0.0101


def test_measured_estimates_do_not_decay() -> None:
    """An estimate that is measured all the time stays where the measurements are."""
    driver = CoreDriver()
    driver.add("fast", 0.010)
    slow = driver.add("slow", 0.100)
    for _ in range(100):
        driver.now += 0.1
        driver.core.fleet.claim(slow, driver.now)
        driver.core.fleet.release(slow, Verdict.ANSWERED, 0.100, driver.now)
        driver.advance()
    assert slow.service_s == pytest.approx(0.100, rel=0.1)


# ---- coming and going


def test_returning_worker_takes_over() -> None:
    """A new session of a worker supersedes its stale one at once; what the stale one says later is not heard."""
    driver = CoreDriver()
    stale, fresh = FakeLink("a"), FakeLink("a")
    driver.join(stale)
    driver.prove()
    driver.join(fresh)
    assert driver.closed == [stale]
    driver.core.leave(stale, "closed", driver.now)
    driver.core.update(stale, [], driver.now)
    driver.core.drain_worker(stale, driver.now)
    driver.prove()
    driver.submit()
    assert driver.running[0].replica is not None
    assert driver.running[0].replica.link is fresh


def test_draining_worker_takes_nothing() -> None:
    """A draining worker gets no job and no probe, and nothing that it offers later changes that."""
    driver = CoreDriver(probe_idle_s=1.0)
    replica = driver.add("a")
    driver.core.drain_worker(replica.link, driver.now)
    driver.core.update(replica.link, [offer("m"), offer("n")], driver.now)
    driver.submit()
    driver.pass_time(1.9)
    assert (driver.running, driver.probes) == ([], [])


def test_changes_are_told() -> None:
    """Each change of a worker is told once, with its reason."""
    driver = CoreDriver()
    replica = driver.add("a")
    driver.core.drain_worker(replica.link, driver.now)
    driver.core.leave(replica.link, "bye", driver.now)
    assert driver.observer.changes == [
        ("a", "", "joined", ""),
        ("a", "m", "ready", "an inference succeeded"),
        ("a", "", "draining", "the worker asked for it"),
        ("a", "m", "gone", "bye"),
        ("a", "", "left", "bye"),
    ]
