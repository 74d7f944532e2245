"""Schedules: offsets in ns, without a clock."""

from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from bench.errors import BenchError
from bench.load.arrivals import NS, Offsets, WarmUp, burst, constant, poisson, read_trace, until


def first(offsets: Offsets, count: int) -> list[int]:
    return list(islice(offsets, count))


def test_constant_does_not_drift() -> None:
    """At 3/s the three-millionth request is due at a million seconds, though a third of a second is no whole number of
    ns."""
    assert first(constant(3), 4) == [0, 333_333_333, 666_666_667, NS]
    assert next(islice(constant(3), 300_000, None)) == 100_000 * NS


def test_poisson_is_exponential_and_repeats() -> None:
    """Gaps at 100/s have mean and deviation 10 ms, a seed gives one schedule, another seed another one."""
    offsets = first(poisson(100, 1), 20_000)
    gaps = np.diff([0, *offsets]) / NS
    assert gaps.min() >= 0
    assert gaps.mean() == pytest.approx(0.01, rel=0.03)
    assert gaps.std() == pytest.approx(0.01, rel=0.03)
    assert np.mean(gaps > 0.01) == pytest.approx(np.exp(-1), rel=0.03)
    assert first(poisson(100, 1), 5000) == offsets[:5000]
    assert first(poisson(100, 2), 10) != offsets[:10]


def test_burst_keeps_the_average() -> None:
    """Bursts of 5 at 10/s come every half second."""
    assert first(burst(10, 5), 11) == [0] * 5 + [NS // 2] * 5 + [NS]


def test_until_ends_by_time_or_count() -> None:
    """The end itself is outside; whichever bound comes first counts."""
    assert len(list(until(constant(10), NS, None))) == 10
    assert len(list(until(constant(10), NS, 3))) == 3
    assert len(list(until(constant(10), None, 30))) == 30
    assert list(until(iter([5]), None, None)) == [5]


def test_all_schedules_ascend() -> None:
    """No request is due before the one before it."""
    for offsets in (constant(7), poisson(1000, 4), burst(9, 4)):
        assert all(before <= after for before, after in pairwise(first(offsets, 3000)))


def test_trace(tmp_path: Path) -> None:
    """The first column in seconds; a heading, comments and empty lines are passed over."""
    file = tmp_path / "trace.csv"
    file.write_text("offset_s,note\n# recorded on Monday\n0.5,a\n\n0.5,b\n2,c\n")
    assert read_trace(file) == [NS // 2, NS // 2, 2 * NS]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n0.5\n", "line 2: 0.5 is before the line above"),
        ("0\nsoon\n", "line 2: 'soon' is not a number"),
        ("0\n-1\n", "line 2: '-1' is not a number of seconds, 0 or more"),
        ("0\nnan\n", "'nan' is not a number"),
        ("offset\n", "has no offset"),
    ],
)
def test_a_bad_trace_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """The error names the file, the line and what is wrong."""
    file = tmp_path / "trace.txt"
    file.write_text(text)
    with pytest.raises(BenchError, match=message) as raised:
        read_trace(file)
    assert str(file) in str(raised.value)


def test_a_missing_or_binary_trace_is_refused(tmp_path: Path) -> None:
    """As a BenchError, like everything a person can put right."""
    with pytest.raises(BenchError, match="cannot read the trace"):
        read_trace(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BenchError, match="cannot read the trace"):
        read_trace(tmp_path / "binary")


def test_warm_up_rules_say_what_they_do() -> None:
    """By time, by number, or not at all."""
    assert [WarmUp(duration_ns=NS).covers(50, offset) for offset in (NS - 1, NS)] == [True, False]
    assert [WarmUp(count=2).covers(index, 0) for index in (1, 2)] == [True, False]
    assert str(WarmUp(duration_ns=NS // 2)) == "requests intended in the first 0.5 s dropped"
    assert str(WarmUp(count=7)) == "the first 7 requests dropped"
    assert str(WarmUp()) == "nothing dropped"
