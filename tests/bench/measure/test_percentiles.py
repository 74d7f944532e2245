"""Percentiles by hand, their intervals against the binomial law and against runs whose truth is known."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from bench.measure.percentiles import (
    autocorrelation,
    block_intervals,
    interval_ranks,
    least_n,
    name_of,
    nearest_rank,
    percentile,
    percentiles,
)


def probability(n: int, q: float, low: int, high: int) -> float:
    """P(low <= Bin(n, q) < high), term by term."""
    return math.fsum(math.comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(low, high))


@pytest.mark.parametrize(
    ("n", "q", "rank"),
    [(1, 0.99, 1), (100, 0.5, 50), (101, 0.5, 51), (100, 0.99, 99), (1000, 0.999, 999), (10, 0.95, 10)],
)
def test_nearest_rank(n: int, q: float, rank: int) -> None:
    """The rank is ceil(q n), also where q n is a whole number that floating point misses."""
    assert nearest_rank(n, q) == rank


@pytest.mark.parametrize(("q", "n"), [(0.9, 36), (0.95, 72), (0.99, 368), (0.999, 3688)])
def test_the_least_number_of_samples(q: float, n: int) -> None:
    """36 for p90, 72 for p95, 368 for p99, 3688 for p99.9; one fewer is too small."""
    assert least_n(q) == n
    assert interval_ranks(n, q) is not None
    assert interval_ranks(n - 1, q) is None
    assert percentile(np.arange(n - 1.0), q) is None


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("n", [368, 500, 999])
def test_the_ranks_are_the_tightest_of_their_tails(n: int, q: float) -> None:
    """Each side misses at most 2.5 %, and one rank further in would miss more."""
    ranks = interval_ranks(n, q)
    assert ranks is not None
    low, high = ranks
    assert probability(n, q, low, high) >= 0.95
    assert probability(n, q, 0, low) <= 0.025 < probability(n, q, 0, low + 1)
    assert probability(n, q, high, n + 1) <= 0.025 < probability(n, q, high - 1, n + 1)


def test_textbook_interval_of_a_median() -> None:
    """The median of 100 samples lies between the 40th and the 61st."""
    assert interval_ranks(100, 0.5) == (40, 61)


def test_the_interval_on_p99_covers_the_truth() -> None:
    """In 400 runs of 2000 exponential samples, the interval holds the true p99 as often as the binomial law says, which
    is at least 95 %, within the binomial error of 400 trials."""
    runs, n, q = 400, 2000, 0.99
    truth = -math.log(1 - q)
    samples = np.sort(np.random.default_rng(20261).exponential(size=(runs, n)))
    found = [percentile(run, q) for run in samples]
    covered = sum(one is not None and one.low <= truth <= one.high for one in found)
    ranks = interval_ranks(n, q)
    assert ranks is not None
    promised = probability(n, q, *ranks)
    assert promised >= 0.95
    assert abs(covered / runs - promised) <= 1.96 * math.sqrt(promised * (1 - promised) / runs)


def test_blocks_widen_the_interval_of_samples_that_follow_each_other() -> None:
    """Where neighbours are alike (AR(1), 0.9), the ranks' interval on the median misses it in most runs, and that of
    the blocks in few; where they are not, both are about as wide."""
    random = np.random.default_rng(7)
    noise = random.normal(size=(120, 1500))
    alike = noise.copy()
    for step in range(1, 1500):
        alike[:, step] += 0.9 * alike[:, step - 1]

    def coverage(runs: np.ndarray) -> tuple[float, float]:
        plain = blocks = 0
        for run in runs:
            one = percentile(np.sort(run), 0.5)
            assert one is not None
            ((low, high),) = block_intervals(run, (0.5,))
            plain += one.low <= 0 <= one.high
            blocks += low <= 0 <= high
        return plain / len(runs), blocks / len(runs)

    plain, blocks = coverage(alike[:, 500:])
    assert plain < 0.6
    assert blocks > 0.8
    plain, blocks = coverage(noise[:, 500:])
    assert min(plain, blocks) > 0.88


def test_a_percentile_is_a_sample() -> None:
    """Of 1 to 1000 in any order, p50 is 500 and p99 is 990, never a value between two samples."""
    values = np.random.default_rng(1).permutation(1000) + 1.0
    found = {name_of(one.q): one.value for one in percentiles(values) if one}
    assert found == {"p50": 500, "p75": 750, "p90": 900, "p95": 950, "p99": 990}


def test_intervals_hold_their_percentile_and_repeat() -> None:
    """Both intervals contain the value; the same seed gives the same blocks, and percentiles ascend."""
    values = np.random.default_rng(3).lognormal(size=5000)
    found = [one for one in percentiles(values, seed=5) if one is not None]
    assert len(found) == 6
    assert all(one.low <= one.value <= one.high and one.block_low <= one.value <= one.block_high for one in found)
    assert found == percentiles(values, seed=5)
    assert all(low.value <= high.value for low, high in pairwise(found))


def test_no_samples_have_no_percentile() -> None:
    """Nothing in, nothing out: no exception, no number."""
    assert percentiles(np.zeros(0)) == [None] * 6


def test_autocorrelation() -> None:
    """1, -1, 1, ... is -1 but for its edge, what never changes is 0, and a walk is near 1."""
    assert autocorrelation(np.array([1.0, -1.0] * 50)) == pytest.approx(-0.99)
    assert autocorrelation(np.full(10, 3.0)) == 0
    assert autocorrelation(np.zeros(1)) == 0
    assert autocorrelation(np.arange(1000.0)) > 0.99
