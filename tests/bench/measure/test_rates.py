"""Whether a run can be believed: verdict on the lag, Little's law, failures by reason."""

from __future__ import annotations

import math

import pytest

from bench.load.generator import Occupancy, Plan, Run
from bench.load.sample import Recorder, Sample, Samples
from bench.measure.rates import failures, lag, little, rates, statuses
from tests.support.samples import MS, START_NS, made


def run_of(samples: Samples, window_ms: int, occupancy: Occupancy) -> Run:
    end_ns = START_NS + window_ms * MS
    return Run(Plan(None, closed_loops=1), samples, START_NS, START_NS, end_ns, end_ns, False, occupancy)


@pytest.mark.parametrize(
    ("response_ms", "lag_us", "is_limited"),
    [
        (500, 1001, True),  # over 1 ms
        (500, 999, False),
        (50, 501, True),  # over 1 % of the median
        (50, 499, False),
    ],
)
def test_generator_limited(response_ms: float, lag_us: int, is_limited: bool) -> None:
    """A p99 of lag over 1 ms or over 1 % of the median response is the generator's fault."""
    recorder = Recorder()
    for index in range(100):
        late_ns = lag_us * 1000 if index >= 98 else 0
        recorder.add(
            Sample(index, START_NS, START_NS + late_ns, t_done_ns=START_NS + round(response_ms * MS), status=200)
        )
    found = lag(recorder.samples())
    assert found is not None
    assert found.is_generator_limited is is_limited


def test_one_late_request_of_a_hundred_is_none_of_the_99() -> None:
    """The largest lag is shown and decides nothing."""
    recorder = Recorder()
    for index in range(100):
        late_ns = 50 * MS if index == 7 else 0
        recorder.add(Sample(index, START_NS, START_NS + late_ns, t_done_ns=START_NS + 90 * MS, status=200))
    found = lag(recorder.samples())
    assert found is not None
    assert (found.largest, found.p99, found.is_generator_limited) == (50, 0, False)


def test_occupancy_by_hand() -> None:
    """Two requests of 10 ms that overlap by 5: one, two, one present, over 15 ms 4/3 on average."""
    occupancy = Occupancy(0)
    occupancy.enter(0, 0)
    occupancy.enter(7 * MS, 5 * MS)  # noticed 2 ms late, and counted from when it was due
    occupancy.leave(10 * MS)
    occupancy.leave(15 * MS)
    assert occupancy.mean(0, 15 * MS) == pytest.approx(20 / 15)
    assert (occupancy.in_flight, occupancy.most) == (0, 2)
    assert math.isnan(occupancy.mean(5, 5))


@pytest.mark.parametrize(("lost", "holds"), [(0, True), (4, True), (6, False)])
def test_little_s_law_notices_lost_samples(lost: int, holds: bool) -> None:
    """A hundred requests one after the other keep one present. With six samples missing the law is off by more than 5
    %."""
    occupancy = Occupancy(START_NS)
    for index in range(100):
        occupancy.enter(START_NS + index * 10 * MS, START_NS + index * 10 * MS)
        occupancy.leave(START_NS + (index + 1) * 10 * MS)
    samples = made([10.0] * (100 - lost))
    found = little(run_of(samples, 1000, occupancy), samples)
    assert found is not None
    assert (found.present, found.holds) == (pytest.approx(1), holds)
    assert found.error == pytest.approx(lost / 100)


def test_failures_are_counted_by_reason_and_status() -> None:
    """The most frequent first; nothing that failed is missing from the counts."""
    recorder = Recorder()
    for index, (reason, status) in enumerate([("", 200), ("timeout", 0), ("queue_full", 503), ("queue_full", 503)]):
        recorder.add(Sample(index, START_NS, START_NS, t_done_ns=START_NS, reason=reason, status=status))
    samples = recorder.samples()
    assert failures(samples) == [("queue_full", 503, 2), ("timeout", 0, 1)]
    assert statuses(samples) == {0: 1, 200: 1, 503: 2}


def test_rates_of_an_empty_window_are_zero() -> None:
    """A run that was stopped at once divides by nothing."""
    samples = Recorder().samples()
    run = run_of(samples, 0, Occupancy(START_NS))
    found = rates(run, samples)
    assert (found.offered, found.achieved, found.intended) == (0, 0, 0)
    assert little(run, samples) is None
    assert lag(samples) is None
