"""Each measure of jitter against a calculation on paper."""

from __future__ import annotations

import numpy as np
import pytest

from bench.measure.jitter import ipdv, jitter, mad, pdv, rfc3550_series


def test_rfc3550_by_hand() -> None:
    """16, 32, 16, 16 ms: J is 0, 1, 1 + 15/16, and then 15/16 of that."""
    assert rfc3550_series(np.array([16.0, 32.0, 16.0, 16.0])).tolist() == [0, 1, 1.9375, 1.81640625]


def test_rfc3550_follows_arrival_and_ipdv_the_schedule() -> None:
    """The second request overtook the first: J takes them as they came, IPDV as they were sent."""
    index, latency = np.arange(3), np.array([48.0, 16.0, 32.0])
    done = np.array([48, 26, 52]) * 1_000_000
    found = jitter(index, done, latency)
    assert found.rfc3550 == pytest.approx(2 + (16 - 2) / 16)  # by arrival 16, 48, 32
    assert found.ipdv_mean == (32 + 16) / 2


def test_ipdv_has_no_pair_across_a_failure() -> None:
    """Of requests 0, 1, 3, 4 the steps are those of 0 to 1 and 3 to 4."""
    assert ipdv(np.array([0, 1, 3, 4]), np.array([5.0, 7.0, 90.0, 88.0])).tolist() == [2, -2]


def test_pdv_is_above_the_least() -> None:
    """5, 3, 9 are 2, 0, 6 above the least of them."""
    assert pdv(np.array([5.0, 3.0, 9.0])).tolist() == [2, 0, 6]


def test_mad_by_hand() -> None:
    """Of 1, 1, 2, 2, 4, 6, 9 the median is 2 and the median distance from it 1."""
    assert mad(np.array([1.0, 1, 2, 2, 4, 6, 9])) == 1


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_compare_is_none(n: int) -> None:
    """Without two samples there is no jitter, rather than a jitter of 0."""
    found = jitter(np.arange(n), np.arange(n), np.ones(n))
    assert (found.rfc3550, found.ipdv_mean, found.ipdv_p99, found.std, found.p99_p50) == (None,) * 5
    assert set(found.pdv.values()) == {None}


def test_percentiles_of_jitter_need_their_samples_too() -> None:
    """Of 100 samples the p95 of PDV is said, its p99 is not."""
    found = jitter(np.arange(100), np.arange(100), np.arange(100.0))
    assert found.pdv == {0.5: 49, 0.95: 94, 0.99: None, 0.999: None}
    assert (found.ipdv_p50, found.ipdv_p99, found.p99_p50) == (1, None, None)
