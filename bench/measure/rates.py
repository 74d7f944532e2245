"""Whether the run can be believed: the generator's lag, offered against achieved, Little's law, what failed.

A generator that could not keep up has measured itself; a run that lost requests has measured the survivors. Both are
said.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from bench.load.generator import Run
from bench.load.sample import NOT_SENT, Samples
from bench.measure.percentiles import nearest_rank

NS = 1e9
MS = 1e6
LAG_LIMIT_MS = 1.0
LAG_LIMIT_OF_MEDIAN = 0.01
LITTLE_TOLERANCE = 0.05


@dataclass(frozen=True)
class Lag:
    """G = t_send - t_int over what was sent, in ms."""

    p50: float
    p99: float
    largest: float
    connection_wait_p99: float
    """The part spent waiting for one of a bounded number of connections."""
    limit: float
    """The smaller of 1 ms and 1 % of the median response."""
    is_generator_limited: bool


def lag(samples: Samples) -> Lag | None:
    """None where nothing was sent. The largest is no percentile, so p99 here needs no least number of samples: the
    verdict is wanted of short runs too."""
    sent = samples.take(samples.is_sent)
    if not len(sent):
        return None
    lags = np.sort(sent.lag_ns) / MS
    responses = np.sort(sent.response_ns[sent.is_ok]) / MS
    limit = LAG_LIMIT_MS
    if len(responses):
        limit = min(limit, LAG_LIMIT_OF_MEDIAN * float(responses[nearest_rank(len(responses), 0.5) - 1]))
    p99 = float(lags[nearest_rank(len(lags), 0.99) - 1])
    waits = np.sort(sent.column("wait")) / MS
    return Lag(
        p50=float(lags[nearest_rank(len(lags), 0.5) - 1]),
        p99=p99,
        largest=float(lags[-1]),
        connection_wait_p99=float(waits[nearest_rank(len(waits), 0.99) - 1]),
        limit=limit,
        is_generator_limited=p99 > limit,
    )


@dataclass(frozen=True)
class Rates:
    """Of the measured window. Rates are per second."""

    window_s: float
    intended: int
    sent: int
    not_sent: int
    succeeded: int
    failed: int
    """All that did not succeed, not sent ones too."""
    offered: float
    """Intended in the window, by its length."""
    achieved: float
    """Succeeded, by the time until the last answer."""
    bytes_out: float
    bytes_in: float


def rates(run: Run, measured: Samples) -> Rates:
    """`measured`: the samples of the run without the warm-up, or one arm of them."""
    window_s = max(0, run.measured_to_ns - run.measured_from_ns) / NS
    last_ns = int(measured.column("t_done").max(initial=run.measured_to_ns))
    until_answer_s = (max(run.measured_to_ns, last_ns) - run.measured_from_ns) / NS
    succeeded = int(measured.is_ok.sum())
    not_sent = int((~measured.is_sent).sum())

    def per_second(number: float, seconds: float) -> float:
        return number / seconds if seconds > 0 else 0.0

    return Rates(
        window_s=window_s,
        intended=len(measured),
        sent=len(measured) - not_sent,
        not_sent=not_sent,
        succeeded=succeeded,
        failed=len(measured) - succeeded,
        offered=per_second(len(measured), window_s),
        achieved=per_second(succeeded, until_answer_s),
        bytes_out=per_second(float(measured.column("bytes_out").sum()), until_answer_s),
        bytes_in=per_second(float(measured.column("bytes_in").sum()), until_answer_s),
    )


@dataclass(frozen=True)
class Little:
    """L = lambda W: the mean number present, counted by itself, against rate times mean time present."""

    present: float
    rate: float
    time_s: float
    error: float
    """|L - lambda W| / L."""
    holds: bool


def little(run: Run, measured: Samples) -> Little | None:
    """None without a window. A request is present from its intended time until it is over, however it ends; a run that
    is not long against its requests shows its edges here."""
    window_s = (run.measured_to_ns - run.measured_from_ns) / NS
    there = measured.take(np.asarray(measured.rows["reason"] != _code(measured.reasons, NOT_SENT)) | measured.is_sent)
    if window_s <= 0 or not len(there):
        return None
    present = run.occupancy.mean(run.measured_from_ns, run.measured_to_ns)
    rate, time_s = len(there) / window_s, float(there.response_ns.mean()) / NS
    error = abs(present - rate * time_s) / present if present > 0 else 0.0
    return Little(present, rate, time_s, error, error <= LITTLE_TOLERANCE)


def failures(samples: Samples) -> list[tuple[str, int, int]]:
    """(reason, status, how many), the most frequent first; status 0 is no answer."""
    bad = samples.rows[~samples.is_ok]
    counts = Counter(zip(bad["reason"].tolist(), bad["status"].tolist(), strict=True))
    return [(samples.reasons[reason], status, count) for (reason, status), count in counts.most_common()]


def statuses(samples: Samples) -> dict[int, int]:
    """How many by HTTP status; 0 is no answer."""
    values, counts = np.unique(samples.rows["status"], return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _code(names: tuple[str, ...], name: str) -> int:
    return names.index(name) if name in names else -1
