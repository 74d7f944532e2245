"""Balancers that do not know of each other: by hand, and against what else is known."""

from __future__ import annotations

import numpy as np
import pytest

from bench.simulation.balancers import least_conn_response_s, table
from bench.simulation.ideal import ideal_response_s
from bench.simulation.outcome import WARM_UP, quantile
from bench.simulation.scenario import Scenario, WorkerSpec

FOUR = (WorkerSpec(0.02),) * 4


def test_ties_go_round() -> None:
    """Eight at once to four servers of 20 ms by one balancer: two to each, so four answers after 20 ms and four after
    40."""
    scenario = Scenario(FOUR, 0.8, 8, arrivals="burst")
    assert sorted(least_conn_response_s(scenario, 1)) == pytest.approx([0.02] * 4 + [0.04] * 4)


def test_one_that_knows_all_is_nearly_ideal_for_equal_work() -> None:
    """Never better than the ideal queue, and its p99 is within a tenth of it."""
    scenario = Scenario(FOUR, 0.8, 20_000)
    first = int(WARM_UP * scenario.jobs)
    ideal_s = quantile(ideal_response_s(scenario)[first:], 0.99)
    ours_s = quantile(least_conn_response_s(scenario, 1)[first:], 0.99)
    assert 1 <= ours_s / ideal_s < 1.1


def test_the_less_each_knows_the_longer_the_tail() -> None:
    """Every column of the table grows from row to row, and with 64 of them is over twice the ideal queue's."""
    head, *rows = table(lambda _what: None, 0.5)
    numbers = np.array([[float(cell) for cell in row[1:]] for row in rows])
    assert head == ["balancers", "constant", "exponential", "lognormal"]
    assert [row[0] for row in rows] == ["1", "2", "4", "8", "16", "64"]
    assert (np.diff(numbers, axis=0) > 0).all()
    assert (numbers[-1] > 2).all()
