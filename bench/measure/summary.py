"""Everything that is said of a run, as one object: summary.json, and what tables and pictures are made from.

Its fields are described in docs/reference/bench.md, and a test compares the two. Values that the samples do not carry
are null, never an estimate. Milliseconds throughout, unless a name says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from bench.load.generator import Run
from bench.load.sample import Floats, Samples
from bench.measure import anatomy as parts
from bench.measure import rates
from bench.measure.jitter import jitter
from bench.measure.percentiles import (
    QUANTILES,
    Percentile,
    autocorrelation,
    least_n,
    name_of,
    percentile,
    percentiles,
)

SCHEMA = 1
MS = 1e6
LONG_ENOUGH_S = 600.0
"""A result to quote comes from ten minutes at least (MLPerf LoadGen)."""
STRONG_AUTOCORRELATION = 0.2
RANDOM = "random"
"""How a worker says that its model was never trained."""
MOST_LATE_US = 1000.0
"""At p99 of a relay's way: as much as a generator may lag."""

Summary = dict[str, Any]  # Any: JSON


@dataclass(frozen=True)
class About:
    """What the run was asked to do, as the report repeats it."""

    url: str
    arrivals: str
    """In words."""
    kind: str
    rate: float | None
    connections: int
    """0: as many as needed."""
    keep_alive: bool
    timeout_s: float
    seed: int
    pictures: int
    picture_bytes_mean: float
    name: str = ""


def summarize(
    run: Run, about: About, environment: Mapping[str, object], started: datetime, networks: Sequence[Summary] = ()
) -> Summary:
    """The whole summary. `started`: the wall clock's time, with its zone. `networks`: what was put in between."""
    measured = run.samples.measured()
    measures = measures_of(run, measured, about.seed)
    return {
        "schema": SCHEMA,
        "started": started.astimezone(UTC).isoformat(timespec="milliseconds"),
        "run": {
            **asdict(about),
            "warm_up": str(run.plan.warm_up),
            "warm_up_requests": len(run.samples) - len(measured),
            "started_ns": run.started_ns,
            "measured_from_ns": run.measured_from_ns,
            "measured_to_ns": run.measured_to_ns,
            "is_interrupted": run.is_interrupted,
            "most_in_flight": run.occupancy.most,
        },
        **measures,
        "little": _or_none(rates.little(run, measured)),
        "workers": [
            {"name": name, **_shares(measured.of_worker(name))}
            for name in measured.workers
            if name or _has_unnamed(measured)
        ],
        "networks": list(networks),
        "verdicts": verdicts(run, measures, rates.little(run, measured)) + verdicts_of(networks),
        "environment": {**environment, **({"weights": ", ".join(said)} if (said := run.samples.weights) else {})},
    }


def measures_of(run: Run, measured: Samples, seed: int = 0) -> Summary:
    """The part that is said of each arm of a comparison by itself. `measured`: without warm-up."""
    ok = measured.take(measured.is_ok)
    response = ok.response_ns / MS
    return {
        "response_ms": distribution(response, seed),
        "service_ms": distribution(ok.service_ns / MS, None),  # beside R for contrast: the dear interval is R's
        "jitter_ms": _jitter(ok, response),
        "send_lag_ms": _or_none(rates.lag(measured)),
        "rates": asdict(rates.rates(run, measured)),
        "failures": [
            {"reason": reason, "status": status, "count": count} for reason, status, count in rates.failures(measured)
        ],
        "statuses": {str(status): count for status, count in rates.statuses(measured).items()},
        "anatomy": [{**asdict(bar), "residual": bar.residual} for bar in parts.anatomy(measured)],
    }


def distribution(values: Floats, seed: int | None = 0) -> Summary:
    """Number, extremes, mean, autocorrelation and percentiles; null for a percentile with too few samples, and for its
    interval by blocks without a seed."""
    found = percentiles(values, seed=seed)
    return {
        "n": len(values),
        "min": float(values.min()) if len(values) else None,
        "mean": float(values.mean()) if len(values) else None,
        "max": float(values.max()) if len(values) else None,
        "autocorrelation": autocorrelation(values),
        "percentiles": {name_of(q): _percentile(one) for q, one in zip(QUANTILES, found, strict=True)},
    }


def least_samples() -> dict[str, int]:
    """By name, how many samples each percentile of the table needs."""
    return {name_of(q): least_n(q) for q in QUANTILES}


def verdicts(run: Run, measures: Summary, little: rates.Little | None) -> list[str]:
    """What a reader must know before quoting a number; empty when there is nothing."""
    lag, flow = measures["send_lag_ms"], measures["rates"]
    found = []
    if run.is_interrupted:
        found.append("interrupted: the schedule was not finished")
    if lag and lag["is_generator_limited"]:
        found.append(_lag_text(lag))
    if flow["not_sent"]:
        found.append(
            f"{flow['not_sent']} requests were never sent: their time-out passed first, or too many were in flight"
        )
    if not flow["succeeded"]:
        found.append("no request succeeded")
    if any(said.endswith(RANDOM) for said in run.samples.weights):
        found.append("the model's weights are random: times are those of a trained one, labels mean nothing")
    if little is not None and not little.holds:
        found.append(
            f"Little's law is off by {little.error:.0%}: the run is short against its requests, or samples are missing"
        )
    if run.plan.arrivals is None:
        found.append("closed loop: a pause of the server delays the requests after it, so percentiles are too good")
    if abs(measures["response_ms"]["autocorrelation"]) > STRONG_AUTOCORRELATION:
        found.append("neighbouring requests are alike: trust the block bootstrap's interval, or repeat the run")
    if flow["window_s"] < LONG_ENOUGH_S:
        found.append(f"short: {flow['window_s']:.3g} s; a result to quote takes {LONG_ENOUGH_S:g} s")
    return found


def verdicts_of(networks: Sequence[Summary]) -> list[str]:
    """What a network in between did that it should not have."""
    found = []
    for one in networks:
        name = f"the network before {one['arm']}" if one["arm"] else "the network in between"
        if one["error"]:
            found.append(f"{name} ended badly: {one['error']}")
        late_us = [one["relay"][way]["late_us"]["p99"] or 0 for way in ("up", "down")] if one["relay"] else []
        if max(late_us, default=0) > MOST_LATE_US:
            found.append(f"{name} was late by itself, by {max(late_us) / 1000:.3g} ms at p99: the machine is busy")
    return found


def is_strictly_good(summary: Summary) -> bool:
    """Whether --strict lets it pass: the generator kept up, all that was intended was sent, and something succeeded."""
    lag, flow = summary["send_lag_ms"], summary["rates"]
    return bool(lag and not lag["is_generator_limited"] and not flow["not_sent"] and flow["succeeded"])


def _lag_text(lag: Summary) -> str:
    text = f"generator-limited: p99 of send lag {lag['p99']:.3f} ms, limit {lag['limit']:.3f} ms"
    if lag["connection_wait_p99"] > lag["limit"]:
        return text + f"; requests waited for a free connection, {lag['connection_wait_p99']:.3f} ms at p99"
    return text + "; service times stand beside"


def _jitter(ok: Samples, response: Floats) -> Summary:
    found = asdict(jitter(ok.column("index"), ok.column("t_done"), response))
    return {**found, "pdv": {name_of(q): value for q, value in found["pdv"].items()}}


def _shares(samples: Samples) -> Summary:
    response = np.sort(samples.take(samples.is_ok).response_ns / MS)
    found = {name_of(q): percentile(response, q) for q in (0.5, 0.99)}
    return {
        "requests": len(samples),
        "failed": len(samples) - len(response),
        **{name: one and one.value for name, one in found.items()},
    }


def _has_unnamed(samples: Samples) -> bool:
    return bool((samples.rows["worker"] == 0).any())


def _percentile(one: Percentile | None) -> Summary | None:
    if one is None:
        return None
    return {key: None if math.isnan(value) else value for key, value in asdict(one).items() if key != "q"}


def _or_none(found: rates.Lag | rates.Little | None) -> Summary | None:
    return None if found is None else asdict(found)
