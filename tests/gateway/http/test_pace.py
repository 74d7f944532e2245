"""When a body counts as too slow, and when as nearly complete."""

from __future__ import annotations

import pytest

from gateway.http.pace import HEAD_START_BYTES, Pace, PaceLimits

LIMITS = PaceLimits(stall_s=10.0, min_rate_bytes_s=1000.0, total_s=60.0)
KIB = 1024


def test_waits_no_longer_than_the_stall_limit_at_first() -> None:
    """A body of which nothing has come may take the stall limit for its first byte."""
    assert Pace(LIMITS).patience_s() == 10.0


def test_patience_runs_out_below_the_least_rate() -> None:
    """After the stall limit, each second of waiting must have brought the least rate's bytes."""
    pace = Pace(LIMITS)
    pace.arrived(2000, waited_s=9.0)
    assert pace.patience_s() == pytest.approx(3.0)  # 10 s and 2 s earned, less 9 s
    pace.arrived(0, waited_s=3.0)
    assert pace.patience_s() == pytest.approx(0.0)


def test_patience_ends_at_the_total() -> None:
    """However fast it is, a body is not waited for longer than the total in all."""
    pace = Pace(LIMITS)
    pace.arrived(10**9, waited_s=59.0)
    assert pace.patience_s() == pytest.approx(1.0)


def test_only_waiting_counts() -> None:
    """What is here already when it is asked for costs the client none of its time."""
    pace = Pace(LIMITS)
    for _ in range(100):
        pace.arrived(1)
    assert pace.patience_s() == 10.0


@pytest.mark.parametrize(
    ("pieces", "size_bytes", "expected"),
    [
        ([(64 * KIB, 0.0), (64 * KIB, 0.01)], 256 * KIB, True),  # 6.4 MB/s, 128 KiB left: 20 ms
        ([(64 * KIB, 0.0), (64 * KIB, 0.01)], 2048 * KIB, False),  # 300 ms left
        ([(64 * KIB, 0.0)], 65 * KIB, False),  # one piece has no rate yet
        ([(8 * KIB, 0.0), (8 * KIB, 0.0001)], 17 * KIB, False),  # too little to judge by
        ([(64 * KIB, 5.0), (8 * KIB, 1.0)], 73 * KIB, False),  # slow: 8 KiB/s
        ([(64 * KIB, 0.0), (64 * KIB, 0.0)], 1024 * KIB, True),  # here before it was asked for
        ([(64 * KIB, 0.0), (64 * KIB, 0.01)], None, False),  # a length that nobody said
    ],
)
def test_takes_a_worker_for_bodies_that_are_nearly_here(
    pieces: list[tuple[int, float]], size_bytes: int | None, expected: bool
) -> None:
    """A worker may be taken once the rest, at the rate seen, is due within a tenth of a second."""
    pace = Pace(LIMITS)
    for size, waited_s in pieces:
        pace.arrived(size, waited_s)
    assert pace.is_nearly_complete(size_bytes) is expected


def test_the_first_piece_says_nothing_of_the_rate() -> None:
    """A client that sends a head start at once and then crawls holds no worker."""
    pace = Pace(LIMITS)
    pace.arrived(HEAD_START_BYTES)
    pace.arrived(100, waited_s=1.0)
    assert not pace.is_nearly_complete(HEAD_START_BYTES + 1000)
