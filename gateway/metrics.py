"""Everything that is counted, built once and passed to who counts. Shown at /metrics on the admin listener.

Names begin with `gateway_` and end in their unit; every reason for which a request can fail has a series of
`gateway_request_failures_total`. The fleet is not counted along the way: its gauges are read when somebody scrapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.dispatch.model import Job
from gateway.tallies import Spread, Tally

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format, which every scraper reads."""

BOUNDS_S = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""From a tenth of a millisecond, a local round trip, to a minute, a large model on a small machine."""

Gauges = Mapping[str, tuple[str, Sequence[str], Iterable[tuple[Sequence[str], float]]]]
"""Name -> (documentation, label names, (label values, value) of each series)."""


class Metrics:
    """The registry and all counters. Also what dispatch reports to (its Observer)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._tally("gateway_requests", "HTTP requests answered.", ("route", "method", "status"))
        self.failures = self._tally(
            "gateway_request_failures", "Requests, and files within requests, that failed, by reason.", ("reason",)
        )
        self.tokens_refused = self._tally("gateway_tokens_refused", "Tokens refused, by reason.", ("reason",))
        self.received = self._tally("gateway_request_body_bytes", "Bytes of request bodies received.", ())
        self.connections_closed = self._tally(
            "gateway_connections_closed", "Client connections closed by the gateway, by reason.", ("reason",)
        )
        self.assigned = self._tally("gateway_jobs_assigned", "Jobs given to a worker.", ("model", "worker"))
        self.retried = self._tally("gateway_jobs_retried", "Jobs taken back from a worker for another.", ("worker",))
        self.ended = self._tally("gateway_jobs_ended", "Jobs that ended, by outcome.", ("model", "outcome"))
        self.worker_changes = self._tally(
            "gateway_worker_changes", "Workers that joined, left or changed their readiness.", ("state",)
        )
        self.tunnels_opened = self._tally("gateway_tunnels_opened", "Workers let in.", ())
        self.tunnels_ended = self._tally(
            "gateway_tunnels_ended", "Workers' connections that ended, by close code.", ("code",)
        )
        self.durations = self._spread("gateway_request_duration_seconds", "Head received to answer ready.", ("route",))
        self.stages = self._spread(
            "gateway_exchange_stage_seconds", "Where an answered image's time went (see Server-Timing).", ("stage",)
        )

        self.batched = self._tally(
            "gateway_batched_images", "Images that were computed in a batch, by how many were in it.", ("size",)
        )

    # ---- the HTTP side

    def request_ended(self, route: str, method: str, status: int, duration_s: float, received_bytes: int) -> None:
        """One request was answered, or given up."""
        self.requests.add(route, method, str(status))
        self.durations.observe(duration_s, route)
        if received_bytes:
            self.received.add(amount=received_bytes)

    def exchange_timed(self, stages: Sequence[str], seconds: Sequence[float], batch_size: int | None) -> None:
        """One image was answered; its stages, how long each took, and the size of its batch if it was in one."""
        if batch_size is not None:
            self.batched.add(str(batch_size))
        self.stages.observe_each(seconds, stages)

    # ---- tunnel.server.TunnelObserver

    def tunnel_opened(self) -> None:
        """A worker was let in."""
        self.tunnels_opened.add()

    def tunnel_ended(self, code: Enum) -> None:
        """A worker's connection is over, whether it was let in or not. `code` is the wire protocol's CloseCode."""
        self.tunnels_ended.add(code.name.lower())

    def token_refused(self, reason: Enum) -> None:
        """A worker's token was refused. `reason` is the authenticator's Reason."""
        self.tokens_refused.add(reason.value)

    # ---- dispatch.observer.Observer

    def job_assigned(self, job: Job, worker: str, queue_s: float) -> None:
        """Counts by model and worker."""
        self.assigned.add(job.model, worker)

    def job_retried(self, job: Job, worker: str, reason: str) -> None:
        """Counts by the worker that lost it."""
        self.retried.add(worker)

    def job_ended(self, job: Job, outcome: str, worker: str) -> None:
        """Counts by model and outcome."""
        self.ended.add(job.model, outcome)

    def worker_changed(self, worker: str, model: str, state: str, reason: str) -> None:
        """Counts by the new state."""
        self.worker_changes.add(state)

    # ---- inside and outside

    def watch(self, gauges: Callable[[], Gauges]) -> None:
        """Reads these gauges at every scrape."""
        self.registry.register(_GaugeReader(gauges))

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def _tally(self, name: str, documentation: str, labels: Sequence[str]) -> Tally:
        tally = Tally(name, documentation, labels)
        self.registry.register(tally)
        return tally

    def _spread(self, name: str, documentation: str, labels: Sequence[str]) -> Spread:
        spread = Spread(name, documentation, labels, BOUNDS_S)
        self.registry.register(spread)
        return spread


class _GaugeReader(Collector):
    """Asks for its values when somebody scrapes."""

    def __init__(self, gauges: Callable[[], Gauges]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        for name, (documentation, labels, series) in self._gauges().items():
            family = GaugeMetricFamily(name, documentation, labels=labels)
            for values, value in series:
                family.add_metric(values, value)
            yield family

    def describe(self) -> Iterable[Metric]:
        return [GaugeMetricFamily(name, text, labels=labels) for name, (text, labels, _) in self._gauges().items()]
