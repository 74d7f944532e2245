"""What the fleet's gauges make of dispatch's view, some of which is a worker's own word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from gateway.http.gauges import fleet_gauges
from tests.support.http_gateway import FakeDispatcher


class Told(FakeDispatcher):
    """One worker, whose last load is the one given."""

    load: object = None

    def workers_view(self) -> Sequence[Mapping[str, object]]:
        return [{**worker, "load": self.load} for worker in super().workers_view()]


@pytest.mark.parametrize(
    ("load", "shown"),
    [
        ({"loop_lag_p99_ms": 2.5}, [(("w1",), 0.0025)]),
        ({"loop_lag_p99_ms": 0}, [(("w1",), 0.0)]),
        ({"loop_lag_p99_ms": "much"}, []),
        ({"loop_lag_p99_ms": -1}, []),
        ({"loop_lag_p99_ms": float("nan")}, []),
        ({"loop_lag_p99_ms": 1e300}, []),
        ({"running": 1}, []),
        (None, []),
    ],
)
def test_a_workers_lag_is_shown_if_it_can_be_one(load: object, shown: object) -> None:
    """A worker that does not tell, or tells nonsense, has no such gauge."""
    dispatcher = Told()
    dispatcher.load = load
    _, labels, series = fleet_gauges(dispatcher)["gateway_worker_loop_lag_seconds"]
    assert labels == ("worker",)
    assert list(series) == shown
