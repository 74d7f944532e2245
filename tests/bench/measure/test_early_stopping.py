"""MLPerf LoadGen's early stopping, against its own numbers."""

from __future__ import annotations

import math

import pytest

from bench.measure.early_stopping import allowed_over, queries_needed

TABLE = {0: 459, 1: 662, 2: 838, 5: 1307, 10: 2010}


@pytest.mark.parametrize(("over", "queries"), TABLE.items())
def test_queries_that_p99_needs(over: int, queries: int) -> None:
    """459 queries with none over the bound, 662 with one, 838 with two, 1307 with five, 2010 with ten; and not one
    fewer."""
    assert queries_needed(over) == queries
    assert allowed_over(queries) == over
    assert (allowed_over(queries - 1) or -1) < over or over == 0
    assert allowed_over(458) is None


@pytest.mark.parametrize(("n", "q"), [(459, 0.99), (1000, 0.99), (200, 0.9), (1, 0.5), (7, 0.5)])
def test_it_is_the_binomial_distribution(n: int, q: float) -> None:
    """The most t with P(Bin(n, 1 - q) <= t) <= 1 %, summed term by term."""
    below, most = 0.0, None
    for over in range(n + 1):
        below += math.comb(n, over) * (1 - q) ** over * q ** (n - over)
        if below > 0.01:
            break
        most = over
    assert allowed_over(n, q) == most


def test_large_runs() -> None:
    """A million queries underflow no term: a little under 1 % of them may be over."""
    assert 9_700 < (allowed_over(1_000_000) or 0) < 10_000
    assert allowed_over(0) is None
