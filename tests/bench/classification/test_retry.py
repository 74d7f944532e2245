"""When a client tries again: never before it was asked to, not all at once, and not for ever."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from bench.classification.retry import Bounds, next_wait_s, retry_after_s

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
BOUNDS = Bounds(tries=4, most_wait_s=30.0)


def waits(asked_s: float | None, tries: int = 1, count: int = 200) -> list[float]:
    source = random.Random(1)
    found = [next_wait_s(BOUNDS, tries, asked_s, source) for _ in range(count)]
    return [wait for wait in found if wait is not None]


def test_never_before_it_was_asked_and_spread_after() -> None:
    """Retry-After of 4 s gives from 4 to 6 s, and clients that were refused together do not come back together."""
    found = waits(4.0)
    assert min(found) >= 4
    assert max(found) <= 6
    assert max(found) - min(found) > 1.5


def test_without_retry_after_waits_double() -> None:
    """1, 2 and 4 s, each with its spread."""
    for tries, least in ((1, 1.0), (2, 2.0), (3, 4.0)):
        found = waits(None, tries)
        assert least <= min(found) <= max(found) <= 1.5 * least


def test_a_retry_after_of_0_is_still_spread() -> None:
    """Nobody spins: between 0 and half a second, not all 0."""
    found = waits(0.0)
    assert max(found) > 0.4


def test_tries_are_bounded() -> None:
    """The fourth of four is the last."""
    assert waits(1.0, tries=3)
    assert not waits(1.0, tries=4)


def test_a_wait_that_is_too_long_is_not_begun() -> None:
    """31 s with a bound of 30: given up at once, rather than asked again too early."""
    assert waits(30.0)
    assert not waits(31.0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("\u0664", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    """RFC 9110 10.2.3; a date that has passed is now; what is neither says nothing."""
    assert retry_after_s(header, NOW) == seconds
