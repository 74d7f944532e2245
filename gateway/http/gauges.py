"""The fleet as gauges, read from dispatch's own view when somebody scrapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gateway.http.ports import Dispatcher
from gateway.metrics import Gauges

MAX_LAG_MS = 3_600_000
"""A worker that says more than an hour is not believed."""

_Series = tuple[Sequence[str], float]


def fleet_gauges(dispatcher: Dispatcher) -> Gauges:
    """Every gauge about workers, models and what is in flight now."""
    view = dispatcher.workers_view()
    models = dispatcher.models
    return {
        "gateway_workers": ("Workers connected.", (), [((), len(view))]),
        "gateway_worker_round_trip_seconds": (
            "Smoothed round trip to a worker.",
            ("worker",),
            [((str(worker["worker"]),), _number(worker["rtt_ms"]) / 1000) for worker in view],
        ),
        "gateway_worker_loop_lag_seconds": (
            "How late a worker's event loop is, by its own word: the 99th percentile of a minute.",
            ("worker",),
            list(_loop_lags(view)),
        ),
        "gateway_worker_models": (
            "A worker's models by state: 1 for the state each is in.",
            ("worker", "model", "state"),
            list(_states(view)),
        ),
        "gateway_model_ready_workers": (
            "Workers ready for a model.",
            ("model",),
            [((model,), ready) for model, ready in models.items()],
        ),
        "gateway_model_queued_jobs": (
            "Jobs that wait for a worker.",
            ("model",),
            [((model,), dispatcher.queued(model)) for model in models],
        ),
        "gateway_jobs_in_flight": ("Jobs waiting or running.", (), [((), dispatcher.in_flight)]),
        "gateway_draining": ("1 while no new work is taken.", (), [((), float(dispatcher.is_draining))]),
    }


def models_of(worker: Mapping[str, object]) -> list[Mapping[str, object]]:
    """The models in one worker's view."""
    models = worker["models"]
    assert isinstance(models, list)
    return models


def _states(view: Sequence[Mapping[str, object]]) -> Iterator[_Series]:
    for worker in view:
        for model in models_of(worker):
            yield (str(worker["worker"]), str(model["model"]), str(model["state"])), 1


def _loop_lags(view: Sequence[Mapping[str, object]]) -> Iterator[_Series]:
    """Of the workers that tell: what they say is theirs, and may be anything."""
    for worker in view:
        load = worker.get("load")
        lag_ms = load.get("loop_lag_p99_ms") if isinstance(load, Mapping) else None
        if isinstance(lag_ms, int | float) and 0 <= lag_ms < MAX_LAG_MS:
            yield (str(worker["worker"]),), lag_ms / 1000


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return value
