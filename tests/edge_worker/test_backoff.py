"""How long a worker waits before it dials again."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from edge_worker.backoff import BASE_S, CAP_S, LIVED_S, SLOW_S, Backoff


class Ends(random.Random):
    """Answers with one end of the range that it is asked for."""

    def __init__(self, share: float) -> None:
        super().__init__(0)
        self.share = share

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self.share


def delays(backoff: Backoff, count: int) -> list[float]:
    return [backoff.next_delay_s() for _ in range(count)]


def test_jitter_is_full() -> None:
    """Each delay is anything from 0 to the base doubled at each failure, 15 s at most."""
    assert delays(Backoff(Ends(0.0)), 20) == [0.0] * 20
    assert delays(Backoff(Ends(1.0)), 7) == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    assert max(delays(Backoff(Ends(1.0)), 5000)) == CAP_S  # and no power overflows


def test_a_thousand_workers_spread() -> None:
    """Workers that lost the same gateway do not return together: their delays fill the whole range."""
    first = sorted(Backoff(random.Random(seed)).next_delay_s() for seed in range(1000))
    assert first[0] < 0.05 * BASE_S
    assert first[-1] > 0.95 * BASE_S
    assert max(later - sooner for sooner, later in pairwise(first)) < 0.05 * BASE_S


def test_a_connection_that_lived_starts_anew() -> None:
    """Only a connection that lived for a while resets the row of failures."""
    backoff = Backoff(Ends(1.0))
    delays(backoff, 4)
    backoff.connection_lived(LIVED_S - 0.1)
    assert backoff.next_delay_s() == 8.0
    backoff.connection_lived(LIVED_S)
    assert backoff.next_delay_s() == BASE_S


@pytest.mark.parametrize(("share", "expected"), [(0.0, SLOW_S), (1.0, 2 * SLOW_S)])
def test_a_refusal_is_not_retried_hot(share: float, expected: float) -> None:
    """What waiting does not mend is tried again after 30 to 60 s."""
    assert Backoff(Ends(share)).next_delay_s(is_refusal=True) == expected


def test_retry_after_is_honoured() -> None:
    """Never sooner than the gateway said, and spread behind that."""
    assert Backoff(Ends(0.0)).next_delay_s(10.0) == 10.0
    assert Backoff(Ends(1.0)).next_delay_s(10.0) == 10.0 + BASE_S
    assert Backoff(Ends(0.0)).next_delay_s(7.0, is_refusal=True) == 7.0
