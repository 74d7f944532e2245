"""Each policy by its name: whom it chooses, and that it says why."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from gateway.dispatch.policies import POLICIES, make_policy
from tests.support.core_driver import CoreDriver


def test_unknown_name() -> None:
    """An unknown policy is an error that lists the known ones."""
    with pytest.raises(ValueError, match="least_loaded, least_conn, round_robin, random, power_of_two, pin"):
        make_policy("fastest", Random(1))


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_gives_reasons(name: str) -> None:
    """Every assignment says which policy made it and why."""
    driver = CoreDriver(policy=name, seed=1)
    driver.add("a")
    driver.submit()
    assert driver.observer.assigned == [("job1", "a")]
    (reason,) = driver.reasons
    assert len(reason.split()) > 2
    assert "{" not in reason


@pytest.mark.parametrize("name", POLICIES)
def test_credits_bind_every_policy(name: str) -> None:
    """No policy goes over a worker's credits, and none leaves a job waiting that has only one place to go."""
    driver = CoreDriver(policy=name, seed=1)
    driver.add("a", slots=2)
    for _ in range(3):
        driver.submit()
    assert driver.workers() == ["a", "a"]
    driver.answer(driver.running[0])
    assert driver.workers() == ["a", "a"]


# ---- least_loaded


def test_fastest_idle_first() -> None:
    """least_loaded: of two idle workers the one expected to answer first is chosen, round trip included."""
    driver = CoreDriver()
    driver.add("near", 0.050)
    driver.add("fast but far", 0.010, rtt_s=0.060)
    driver.submit()
    assert driver.workers() == ["near"]


def test_work_ahead_counts() -> None:
    """least_loaded: a busy fast worker is chosen over an idle slow one while it will still be done sooner."""
    driver = CoreDriver()
    driver.add("fast", 0.010, rtt_s=0.030)
    driver.add("slow", 0.055)
    for _ in range(4):
        driver.submit()
    assert driver.workers() == ["fast", "fast", "slow", "fast"]  # 40, 50, then 60 against 55, then 60 against 110


def test_running_work_wears_off() -> None:
    """least_loaded: what a worker has already done of its job is no longer in the way of the next one."""
    driver = CoreDriver()
    driver.add("fast", 0.040, rtt_s=0.001)
    driver.add("slow", 0.060)
    driver.now += 0.5
    driver.submit()
    driver.now += 0.030  # 10 + 40 + 1 ms on the fast one
    driver.submit()
    assert driver.workers() == ["fast", "fast"]


def test_stalled_worker_gets_dearer() -> None:
    """least_loaded: a worker whose job is overdue is expected to take as long again as it is late."""
    driver = CoreDriver()
    driver.add("fast", 0.010, rtt_s=0.001)
    driver.add("slow", 0.060)
    driver.submit()
    driver.now += 1.0
    driver.submit()
    assert driver.workers() == ["fast", "slow"]


def test_wait_for_fast_one() -> None:
    """least_loaded: an idle slow worker is passed over while a busy fast one will answer sooner (Lin and Kumar)."""
    driver = CoreDriver()
    driver.add("fast", 0.008)
    driver.add("slow", 0.080)
    first = driver.submit()
    waits = driver.submit()
    assert driver.workers() == ["fast"]
    driver.now += 0.008
    driver.answer(first)
    assert driver.running == [waits]
    assert driver.workers() == ["fast"]


def test_threshold() -> None:
    """least_loaded: the slow worker is used once the queue for the fast one is longer than its own time."""
    driver = CoreDriver()
    driver.add("fast", 0.008)
    driver.add("slow", 0.044)
    for _ in range(1 + 4):
        driver.submit()
    assert driver.workers() == ["fast"]  # the last of the queue: 8 + 3 x 8 + 8 = 40 ms there
    driver.submit()
    assert driver.workers() == ["fast", "slow"]


def test_wait_ends_by_time() -> None:
    """least_loaded: nobody waits for a fast worker that stalls: the core asks to be woken, and takes the slow one."""
    driver = CoreDriver()
    driver.add("fast", 0.008)
    driver.add("slow", 0.080)
    driver.submit()
    driver.submit()
    assert driver.workers() == ["fast"]
    driver.pass_time(0.090)
    assert driver.workers() == ["fast", "slow"]


def test_no_wait_when_the_fast_cannot_keep_up() -> None:
    """least_loaded: an idle slow worker is used at once while the demand is about all that the fast ones can do."""
    driver = CoreDriver()
    driver.add("fast", 0.008)
    driver.add("slow", 0.080)
    driver.core.fleet.pools["m"].demand_per_s = 120.0
    driver.submit()
    driver.submit()
    assert driver.workers() == ["fast", "slow"]


def test_varying_worker_is_trusted_less() -> None:
    """least_loaded: the more a worker's times vary, the less its promise to be done soon is believed."""
    driver = CoreDriver()
    driver.add("fast", 0.010, rtt_s=0.010).spread_s = 0.050
    driver.add("slow", 0.050)
    driver.submit()
    driver.submit()
    assert driver.workers() == ["fast", "slow"]


def test_due_is_not_free() -> None:
    """least_loaded: a worker whose times vary and whose job is due by now may still take a while: it is not as good as
    an idle one, however fast it looks."""
    driver = CoreDriver()
    driver.add("looks fast", 0.030, rtt_s=0.010).spread_s = 0.020
    driver.add("usual", 0.050, rtt_s=0.010)
    driver.submit()
    driver.now += 0.050
    driver.submit()
    assert driver.workers() == ["looks fast", "usual"]


def test_wait_ends_when_estimates_decay() -> None:
    """least_loaded: a wait is looked at again as the idle worker's estimate forgets that it was slow."""
    driver = CoreDriver()
    driver.add("fast", 2.0)
    driver.add("slow", 20.0)
    driver.submit()
    driver.submit()
    driver.pass_time(6.0)
    assert driver.workers() == ["fast"]  # 4 s late, so 4 + 2 s there; 2 + 18 x exp(-6 / 5) = 7.4 s on the other
    driver.pass_time(1.5)
    assert driver.workers() == ["fast", "slow"]


# ---- the others


def test_least_conn() -> None:
    """least_conn: fewest outstanding jobs per slot, blind to speed."""
    driver = CoreDriver(policy="least_conn")
    driver.add("slow", 1.0, slots=4)
    driver.add("fast", 0.001, slots=2)
    for _ in range(6):
        driver.submit()
    assert Counter(driver.workers()) == {"slow": 4, "fast": 2}
    assert driver.workers()[:3] == ["slow", "fast", "slow"]


def test_round_robin() -> None:
    """round_robin: everyone in turn; a full worker is left out and comes back in its turn."""
    driver = CoreDriver(policy="round_robin")
    for name in ("a", "b", "c"):
        driver.add(name, slots=2)
    tickets = [driver.submit() for _ in range(6)]
    assert driver.workers() == ["a", "b", "c", "a", "b", "c"]
    driver.answer(tickets[1])
    driver.answer(tickets[0])
    driver.submit()
    assert driver.workers()[-1] == "a"


@pytest.mark.parametrize("name", ["random", "power_of_two"])
def test_drawing_policies_repeat(name: str) -> None:
    """random, power_of_two: the same seed gives the same choices, another one others, and all workers are used."""

    def chosen(seed: int) -> list[str]:
        driver = CoreDriver(policy=name, seed=seed)
        for worker in "abcdefgh":
            driver.add(worker, slots=100)
        for _ in range(100):
            driver.submit()
        return driver.workers()

    assert chosen(1) == chosen(1) != chosen(2)
    assert set(chosen(1)) == set("abcdefgh")


def test_two_choices_are_more_even_than_one() -> None:
    """power_of_two: the most loaded worker has far fewer jobs than under random."""

    def most(name: str) -> int:
        driver = CoreDriver(policy=name, seed=1)
        for worker in range(50):
            driver.add(str(worker), slots=1000)
        for _ in range(1000):
            driver.submit()
        return max(Counter(driver.workers()).values())

    assert most("power_of_two") <= 24 < most("random")


def test_pin() -> None:
    """pin: the named worker alone, others' jobs pass by while it is full, and an unknown name is UnknownWorker."""
    driver = CoreDriver(policy="pin")
    driver.add("a", 0.001)
    driver.add("b", 0.1)
    driver.submit(pin="b")
    pinned = driver.submit(pin="b")
    driver.submit()
    assert driver.workers() == ["b", "a"]
    driver.answer(driver.running[0])
    assert driver.running[-1] is pinned
    nowhere = driver.submit(pin="c")
    error = driver.errors[nowhere]
    assert error is not None
    assert error.code == "unknown_worker"


def test_pin_waits_for_readiness() -> None:
    """pin: a job named for a worker that takes no jobs now waits for it."""
    driver = CoreDriver(policy="pin")
    driver.add("a")
    replica = driver.add("b")
    driver.core.drain_worker(replica.link, driver.now)
    waits = driver.submit(pin="b")
    assert driver.running == []
    assert waits not in driver.errors


def test_other_policies_ignore_pins() -> None:
    """Every policy but pin treats a pinned job like any other."""
    driver = CoreDriver()
    driver.add("a", 0.001)
    driver.add("b", 0.1)
    driver.submit(pin="b")
    assert driver.workers() == ["a"]
