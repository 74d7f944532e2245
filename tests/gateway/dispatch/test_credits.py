"""How many jobs a worker is trusted with."""

from __future__ import annotations

from tests.support.core_driver import CoreDriver


def test_far_worker_is_trusted_with_jobs_ahead() -> None:
    """One more with each success, beyond its slots and up to the jobs that hide its round trip."""
    driver = CoreDriver()
    far = driver.add("far", 0.010, rtt_s=0.030, warm=False)
    seen = []
    for _ in range(6):
        seen.append(far.credits)
        driver.answer(driver.submit(), 0.010)
    assert seen == [1, 2, 3, 4, 4, 4]
    assert far.width == 1


def test_near_worker_holds_what_it_runs() -> None:
    """Without a round trip to hide, its slots are all that it is trusted with."""
    driver = CoreDriver()
    near = driver.add("near", 0.010, slots=2, warm=False)
    for _ in range(4):
        driver.answer(driver.submit(), 0.010)
    assert (near.credits, near.width) == (2, 2)
