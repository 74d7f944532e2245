"""Ratios, their intervals, and when something is called better."""

from __future__ import annotations

import numpy as np
import pytest

from bench.load.sample import Floats
from bench.measure.compare import FIRST, NONE, PAIRWISE, SECOND, Ratio, Side, compare, interval, side_of
from tests.support.bench_run import synthetic_run


def side(latencies_ms: Floats, rate: float = 100.0) -> Side:
    """In an open loop; NaN is a failure."""
    steps = np.abs(np.diff(latencies_ms, prepend=np.nan))
    count = len(latencies_ms)
    return Side(np.arange(count), ~np.isnan(latencies_ms), latencies_ms, steps, np.full(count, 1 / rate))


def by_name(ratios: list[Ratio]) -> dict[str, Ratio]:
    return {one.measure: one for one in ratios}


def correlated(random: np.random.Generator, count: int) -> Floats:
    """A load that comes and goes, of deviation 1."""
    noise, load = random.normal(size=count), np.zeros(count)
    for place in range(1, count):
        load[place] = 0.5 * load[place - 1] + 0.866 * noise[place]
    return load


def test_the_interval_covers_the_truth() -> None:
    """Of 120 pairs of systems under a common load, one 10 % slower, some 95 % of the intervals hold 1.1: p50, p90, p99,
    mean, jitter and pair by pair."""
    runs, held = 120, dict.fromkeys((PAIRWISE, "p50", "p90", "p99", "mean", "jitter (mean |IPDV|)"), 0)
    for seed in range(runs):
        random = np.random.default_rng(seed)
        load = 0.3 * correlated(random, 400)
        first, second = (np.exp(load + 0.2 * random.normal(size=400)) * level for level in (20.0, 22.0))
        found = by_name(compare(side(first), side(second), is_interleaved=True, seed=seed, resamples=400)[0])
        for name in held:
            low, high = found[name].low, found[name].high
            assert low is not None
            assert high is not None
            held[name] += low <= 1.1 <= high
    # 0.95 of 120 is 114; five deviations of a binomial, and what bootstraps of few samples are known to lack, below
    assert all(102 <= count <= 120 for count in held.values()), held


def test_pairs_see_what_separate_runs_cannot() -> None:
    """A load common to both cancels in pairs: the interval is narrower than that of the same samples unpaired."""
    random = np.random.default_rng(4)
    load = correlated(random, 2000)
    first, second = (np.exp(load + 0.05 * random.normal(size=2000)) * level for level in (20.0, 20.4))
    together = by_name(compare(side(first), side(second), is_interleaved=True)[0])
    apart = by_name(compare(side(first), side(second), is_interleaved=False)[0])
    assert PAIRWISE not in apart
    for name in ("mean", "p50"):
        assert width(together[name]) < 0.5 * width(apart[name])
    assert together[PAIRWISE].verdict == FIRST
    assert apart["p50"].verdict == NONE


def width(ratio: Ratio) -> float:
    assert ratio.low is not None
    assert ratio.high is not None
    return ratio.high - ratio.low


def test_a_system_against_itself_shows_nothing() -> None:
    """The same latencies give ratios of exactly 1 and no verdict."""
    values = np.random.default_rng(1).lognormal(3, 0.5, 1000)
    ratios, failed = compare(side(values), side(values), is_interleaved=True)
    assert {one.verdict for one in ratios} == {NONE}
    assert {one.ratio for one in ratios} == {1.0}
    assert failed.verdict == NONE
    assert failed.difference == 0


def test_less_is_better_but_for_throughput() -> None:
    """Half the latency is better, and so is twice the throughput."""
    values = np.random.default_rng(1).lognormal(3, 0.1, 1000)
    ratios, _ = compare(side(values, 50.0), side(values / 2, 100.0), is_interleaved=False)
    assert {one.measure: (one.verdict, one.ratio) for one in ratios}["p50"] == (SECOND, pytest.approx(0.5))
    assert by_name(ratios)["throughput"].verdict == SECOND
    assert by_name(ratios)["throughput"].ratio == pytest.approx(2.0)
    back, _ = compare(side(values / 2, 100.0), side(values, 50.0), is_interleaved=False)
    assert {one.verdict for one in back} == {FIRST}


@pytest.mark.parametrize(("count", "known"), [(35, set()), (36, {"p50", "p90", "mean"}), (368, {"p50", "p99"})])
def test_no_ratio_of_too_few(count: int, known: set[str]) -> None:
    """p99 needs 368 successes of each side, the others 36; with fewer there is no ratio, no interval and no verdict."""
    random = np.random.default_rng(2)
    plenty = side(random.lognormal(3, 0.3, 1000))
    found = by_name(compare(side(random.lognormal(3, 0.3, count)), plenty, is_interleaved=False)[0])
    assert known <= {name for name, one in found.items() if one.ratio is not None}
    if count < 368:
        p99 = found["p99"]
        assert (p99.ratio, p99.low, p99.high, p99.verdict, p99.needs) == (None, None, None, NONE, 368)
    if count < 36:
        assert {one.ratio for one in found.values()} == {None}


def test_failures_are_a_difference_of_shares() -> None:
    """0 % against 10 % has no ratio; the difference and its interval are there, and latencies are of the successes."""
    values = np.random.default_rng(3).lognormal(3, 0.3, 1000)
    broken = values.copy()
    broken[::10] = np.nan
    ratios, failed = compare(side(values), side(broken), is_interleaved=True)
    assert (failed.first, failed.second, failed.verdict) == (0.0, pytest.approx(0.1), FIRST)
    assert failed.low is not None
    assert failed.low > 0
    assert by_name(ratios)[PAIRWISE].ratio == 1.0
    assert by_name(ratios)["throughput"].verdict == FIRST


def test_partners_that_are_missing_leave_their_pair() -> None:
    """Interleaved sides are compared over the positions that both have."""
    values = np.random.default_rng(5).lognormal(3, 0.3, 200)
    whole = side(values)
    part = whole.at(np.flatnonzero(np.arange(200) % 7 != 0))
    found = by_name(compare(whole, part, is_interleaved=True)[0])
    assert found["mean"].ratio == 1.0
    assert found[PAIRWISE].ratio == 1.0


def test_random_arrivals_widen_the_throughput() -> None:
    """Two Poisson schedules of one rate differ by chance: of 40 such pairs about two are called different, not all."""
    called = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        sides = []
        for _ in range(2):
            run = synthetic_run([5.0] * 200)
            run.samples.rows["t_int"] = 10**12 + np.cumsum(random.exponential(1e7, 200)).astype(np.int64)
            sides.append(side_of(run.samples, run.samples.column("index")))
        throughput = by_name(compare(sides[0], sides[1], is_interleaved=False, resamples=200)[0])["throughput"]
        called += throughput.verdict != NONE
    assert called <= 7


def test_the_cost_of_a_request_is_the_time_it_takes() -> None:
    """In a closed loop of two, requests of 10 ms give 200 per second; in an open one the schedule's rate."""
    run = synthetic_run([10.0] * 100, rate=50.0)
    position = run.samples.column("index")
    for options, rate in (({"closed_loops": 2}, 200.0), ({"offered": 50.0}, 50.0), ({}, 50.0)):
        cost_s = side_of(run.samples, position, **options).cost_s  # type: ignore[arg-type]
        assert 100 / cost_s.sum() == pytest.approx(rate)


def test_steps_end_at_a_failure_and_at_a_gap() -> None:
    """|IPDV| needs two successes that follow each other."""
    run = synthetic_run([10.0, 12.0, 9.0, 9.5, 20.0], failures={2: ("timeout", 0)})
    steps = side_of(run.samples, np.array([0, 1, 2, 3, 5]), offered=1.0).step_ms
    assert steps == pytest.approx([np.nan, 2.0, np.nan, np.nan, np.nan], nan_ok=True)


def test_an_interval_is_the_middle_of_what_was_drawn() -> None:
    """Of 400 values the 10th from each end; none where a value could not be computed."""
    values = np.random.default_rng(0).permutation(np.arange(1.0, 401.0))
    assert interval(values) == (10.0, 391.0)
    assert interval(np.array([1.0, np.inf])) == (None, None)
    assert interval(np.array([])) == (None, None)
