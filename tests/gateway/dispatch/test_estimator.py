"""One number per worker and model, and what may change it."""

from __future__ import annotations

import math

import pytest

from gateway.dispatch.estimator import MIN_SERVICE_S, Estimator, measured_service_s

RULES = Estimator(smoothing=0.1, decay_s=5.0)


def test_waiting_is_not_service() -> None:
    """The time in the worker's queue is no part of its service time."""
    assert measured_service_s({"worker_queue": 9.0, "decode": 0.002, "inference": 0.008}) == pytest.approx(0.01)


@pytest.mark.parametrize("worker_s", [{}, {"worker_queue": 1.0}, {"a": math.nan}, {"a": -1.0}, {"a": math.inf}])
def test_nothing_measured(worker_s: dict[str, float]) -> None:
    """An exchange that measured nothing, or nothing believable, changes no estimate."""
    assert measured_service_s(worker_s) is None


def test_moving_average() -> None:
    """A fresh estimate moves by the smoothing's share of the error, and its spread towards the error's size."""
    service_s, spread_s = RULES.renewed(0.010, 0.0, 0.020, age_s=0.0)
    assert service_s == pytest.approx(0.011)
    assert spread_s == pytest.approx(0.001)


def test_old_estimates_count_for_less() -> None:
    """The longer an estimate went unrenewed, the more a new measurement weighs."""
    assert RULES.renewed(0.010, 0.0, 0.080, age_s=100.0)[0] == pytest.approx(0.080, rel=1e-3)


def test_decay() -> None:
    """An unrenewed estimate closes 63 % of its distance to the pool's best in the decay time, and the best stays."""
    assert RULES.decayed(0.110, 0.010, elapsed_s=5.0) == pytest.approx(0.010 + 0.1 / math.e)
    assert RULES.decayed(0.010, 0.010, elapsed_s=5.0) == pytest.approx(0.010)


def test_floor() -> None:
    """No estimate is under the least that is believed, whatever a worker claims."""
    assert RULES.first(0.0) == MIN_SERVICE_S
    assert RULES.renewed(MIN_SERVICE_S, 0.0, 0.0, age_s=1e9)[0] == MIN_SERVICE_S
