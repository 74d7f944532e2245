"""The search for the highest rate, and its rule."""

from __future__ import annotations

import pytest

from bench.flags import Settings
from bench.load.sample import Sample
from bench.scenarios.server import CONFIRM, SCENARIO, SEARCH, Search, measure, too_many_over, verdict
from tests.support.studies import flags_of, steps_of
from tests.support.virtual_time import MS, KnownServer, VirtualClock


def tried(search: Search, limit: float) -> list[float]:
    rates = []
    while search.next_rate is not None:
        rates.append(search.next_rate)
        search.tell(search.next_rate <= limit)
    return rates


def test_the_search_doubles_and_then_halves_the_ratio() -> None:
    """From 10 to a limit of 100 within 10 %: 10, 20, 40, 80 pass, 160 fails, then middles by ratio."""
    search = Search(10, 0.1)
    assert [round(rate, 1) for rate in tried(search, 100)] == [10, 20, 40, 80, 160, 113.1, 95.1, 103.7]
    assert (round(search.best or 0, 1), round(search.worst or 0, 1)) == (95.1, 103.7)


def test_the_search_goes_down_too() -> None:
    """From 100 to a limit of 30: halves until one passes."""
    search = Search(100, 0.5)
    assert [round(rate, 1) for rate in tried(search, 30)] == [100, 50, 25, 35.4]
    assert search.best == 25


@pytest.mark.parametrize("limit", [0, 1e18])
def test_the_search_ends_where_no_rate_or_every_rate_passes(limit: float) -> None:
    """Thirty runs at most."""
    search = Search(10, 0.05)
    assert len(tried(search, limit)) == 30
    assert (search.best is None) == (limit == 0)


def server_up_to(limit: float) -> object:
    """Answers in 10 ms up to a rate, and in 200 ms above it."""

    def server(clock: VirtualClock, settings: Settings) -> KnownServer:
        assert settings.rate is not None
        latency_ms = 10 if settings.rate <= limit else 200
        return KnownServer(clock, lambda _: latency_ms)

    return server


async def test_a_limit_is_found_and_confirmed() -> None:
    """A server good up to 100 a second: tried as on paper, the best of them once more with other arrivals."""
    flags = flags_of(SCENARIO, "--rate", "40", "--queries", "459", "--tolerance", "0.1")
    steps = await steps_of(measure, flags, server_up_to(100))  # type: ignore[arg-type]
    tries = [(step.role, round(step.summary["run"]["rate"], 1)) for step in steps]
    assert tries == [*((SEARCH, rate) for rate in (40, 80, 160, 113.1, 95.1, 103.7)), (CONFIRM, 95.1)]
    assert len({step.summary["run"]["seed"] for step in steps}) == len(steps)
    found = SCENARIO.findings(steps, flags)
    assert found.values["rate"] == pytest.approx(95.1, abs=0.1)
    assert found.values["allowed_over"] == 0
    assert [run["passed"] for run in found.values["runs"]] == [True, True, False, False, True, False, True]
    assert found.is_answered


async def test_a_hopeless_run_ends_early_and_is_no_interruption() -> None:
    """At 160 a second every answer is late: the run ends with the first, long before 459 queries."""
    flags = flags_of(SCENARIO, "--rate", "160", "--queries", "459", "--tolerance", "10")
    steps = await steps_of(measure, flags, server_up_to(100))  # type: ignore[arg-type]
    judged = verdict(steps[0], flags.bound, flags.queries)
    assert not judged.passed
    assert judged.queries < 100
    assert not steps[0].is_interrupted
    assert len(steps) == 3  # 160, 80, and 80 once more


async def test_a_rate_that_is_not_confirmed_is_lowered() -> None:
    """The confirmations are worse than the search was: each lowers the rate by the tolerance, until one passes."""
    made: list[float] = []

    def server(clock: VirtualClock, settings: Settings) -> KnownServer:
        assert settings.rate is not None
        made.append(settings.rate)
        is_late = settings.rate > (100 if len(made) <= 2 else 60)
        return KnownServer(clock, lambda _: 200 if is_late else 10)

    flags = flags_of(SCENARIO, "--rate", "80", "--queries", "459", "--tolerance", "1")
    found = SCENARIO.findings(await steps_of(measure, flags, server), flags)
    assert made == [80, 160, 80, 40]
    assert found.values["rate"] == 40


def test_failures_count_as_over_and_the_warm_up_does_not() -> None:
    """With 662 queries one may be over: the second that is decides, be it late or failed."""
    is_decided = too_many_over(100, 662)
    late = Sample(0, 0, t_done_ns=101 * MS)
    assert not is_decided(Sample(0, 0, t_done_ns=101 * MS, is_warmup=True))
    assert not is_decided(Sample(0, 0, t_done_ns=100 * MS))
    assert not is_decided(late)
    assert is_decided(Sample(0, 0, t_done_ns=1, reason="timeout"))


def test_too_few_queries_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With 458 no claim about p99 can be made."""
    with pytest.raises(SystemExit):
        flags_of(SCENARIO, "--queries", "458")
    assert "fewer than 459" in capsys.readouterr().err
