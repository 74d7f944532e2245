"""What is counted, and how it is shown."""

from __future__ import annotations

from enum import Enum

import pytest

from gateway.metrics import Metrics
from gateway.tallies import Spread, Tally
from tests.support.fake_link import make_job

UNITS = ("_seconds", "_bytes", "_total", "_workers", "_jobs", "_models", "_draining", "_flight")


class Code(Enum):
    SUPERSEDED = 4001


def lines(metrics: Metrics) -> list[str]:
    return [line for line in metrics.exposition().decode().splitlines() if not line.startswith("#")]


def test_counts_requests_by_route_method_and_status() -> None:
    """A request adds to its series, its duration to the histogram, its body to the bytes."""
    metrics = Metrics()
    metrics.request_ended("/inference/{model}", "POST", 200, 0.003, 1000)
    metrics.request_ended("/inference/{model}", "POST", 200, 0.3, 500)
    shown = lines(metrics)
    assert 'gateway_requests_total{method="POST",route="/inference/{model}",status="200"} 2.0' in shown
    assert "gateway_request_body_bytes_total 1500.0" in shown
    duration = "gateway_request_duration_seconds"
    assert f'{duration}_bucket{{le="0.0025",route="/inference/{{model}}"}} 0.0' in shown
    assert f'{duration}_bucket{{le="0.005",route="/inference/{{model}}"}} 1.0' in shown
    assert f'{duration}_bucket{{le="+Inf",route="/inference/{{model}}"}} 2.0' in shown
    assert f'{duration}_count{{route="/inference/{{model}}"}} 2.0' in shown
    assert f'{duration}_sum{{route="/inference/{{model}}"}} 0.303' in shown


def test_counts_what_dispatch_and_tunnels_report() -> None:
    """The observer's calls become series by model, worker, outcome and state."""
    metrics = Metrics()
    job = make_job("digits")
    metrics.job_assigned(job, "w1", 0.1)
    metrics.job_retried(job, "w1", "lost")
    metrics.job_ended(job, "answered", "w2")
    metrics.worker_changed("w1", "digits", "ready", "an inference succeeded")
    metrics.tunnel_opened()
    metrics.tunnel_ended(Code.SUPERSEDED)
    shown = lines(metrics)
    for line in (
        'gateway_jobs_assigned_total{model="digits",worker="w1"} 1.0',
        'gateway_jobs_retried_total{worker="w1"} 1.0',
        'gateway_jobs_ended_total{model="digits",outcome="answered"} 1.0',
        'gateway_worker_changes_total{state="ready"} 1.0',
        "gateway_tunnels_opened_total 1.0",
        'gateway_tunnels_ended_total{code="superseded"} 1.0',
    ):
        assert line in shown


def test_gauges_are_read_at_each_scrape() -> None:
    """A gauge has the value of the moment at which it is asked for."""
    metrics = Metrics()
    values = [1.0]
    metrics.watch(lambda: {"gateway_workers": ("Workers.", (), [((), values[0])])})
    assert "gateway_workers 1.0" in lines(metrics)
    values[0] = 2.0
    assert "gateway_workers 2.0" in lines(metrics)


def test_refuses_two_metrics_of_one_name() -> None:
    """A name that is taken cannot be registered again."""
    metrics = Metrics()
    with pytest.raises(ValueError, match="Duplicated"):
        metrics.registry.register(Tally("gateway_requests", "Again.", ()))


def test_a_value_on_a_bound_belongs_below_it() -> None:
    """Buckets are upper bounds that include their own value, as Prometheus defines `le`."""
    spread = Spread("x_seconds", "X.", (), (1.0, 2.0))
    for value in (1.0, 1.5, 2.0, 3.0):
        spread.observe(value)
    (family,) = spread.collect()
    buckets = {sample.labels["le"]: sample.value for sample in family.samples if sample.name.endswith("_bucket")}
    assert buckets == {"1": 1, "2": 3, "+Inf": 4}
    assert spread.count() == 4


def test_a_series_can_begin_at_zero() -> None:
    """A series may be shown before its first event, so that the event is an increase."""
    tally = Tally("x", "X.", ("reason",))
    tally.start("bad")
    (family,) = tally.collect()
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"reason": "bad"}, 0)]
    tally.add("bad")
    tally.start("bad")
    assert tally.count("bad") == 1


def test_names_end_in_their_unit() -> None:
    """Every name begins with gateway_ and ends in its unit or in what it counts."""
    for family in Metrics().registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        assert name.startswith("gateway_")
        assert name.endswith(UNITS), name
