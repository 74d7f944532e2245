"""MLPerf LoadGen's SingleStream and MultiStream: the next query goes when the last one is answered.

SingleStream is one picture at a time, and its number is p90; MultiStream is several pictures a query, over when the
last of them is answered, and its number is p99. Both are closed loops: they say how fast an answer is, and nothing of
load.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from bench.flags import Settings, count, positive
from bench.load.sample import NOT_SENT, Sample
from bench.load.transport import Transport
from bench.scenarios.plans import closed
from bench.scenarios.scenario import (
    Findings,
    Grid,
    Scenario,
    add_address_flags,
    at_address,
    interval_of,
    notes_of,
    percentile_of,
)
from bench.scenarios.study import Step, Study

PICTURES_A_QUERY = 8


class Query:
    """Fits Transport: one sample is one query of several pictures, sent together and over with the last answer."""

    def __init__(self, transport: Transport, pictures: int) -> None:
        self._transport = transport
        self._pictures = pictures

    async def send(self, sample: Sample, deadline_ns: int) -> None:
        """As the protocol says. What the query failed of is what its first failed picture did."""
        first = sample.index * self._pictures
        parts = [Sample(first + place, sample.t_int_ns) for place in range(self._pictures)]
        tasks = [asyncio.ensure_future(self._transport.send(part, deadline_ns)) for part in parts]
        try:
            await asyncio.gather(*tasks)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        finally:
            with contextlib.suppress(ValueError):  # cut off before any part had begun
                _sum_up(sample, parts)


def _sum_up(query: Sample, parts: Sequence[Sample]) -> None:
    """The query leaves with its first picture; the rest is its last one's, but for bytes, which are all."""
    last = max(parts, key=lambda part: part.t_done_ns)
    failed = [part for part in parts if part.reason]
    query.t_send_ns = min((part.t_send_ns for part in parts if part.t_send_ns), default=0)
    query.t_first_byte_ns, query.t_done_ns = last.t_first_byte_ns, last.t_done_ns
    query.bytes_out, query.bytes_in = sum(part.bytes_out for part in parts), sum(part.bytes_in for part in parts)
    query.status, query.reason = (failed[0].status, failed[0].reason) if failed else (last.status, "")
    if query.reason == NOT_SENT and query.t_send_ns:
        query.reason = "timeout"  # some pictures left: the query as a whole was sent
    query.worker, query.request_id = last.worker, last.request_id
    query.is_reused = all(part.is_reused for part in parts)


def add_flags(made: argparse.ArgumentParser) -> None:
    _add_duration(add_address_flags(made))


def add_multi_flags(made: argparse.ArgumentParser) -> None:
    how = add_address_flags(made)
    _add_duration(how)
    how.add_argument("--pictures", type=count, default=PICTURES_A_QUERY, metavar="N", help="of one query (default: 8)")


def _add_duration(how: argparse._ArgumentGroup) -> None:
    how.add_argument("--duration", type=positive, default=20.0, metavar="S", help="after the warm-up (default: 20)")


async def measure_single(study: Study, base: Settings, flags: argparse.Namespace) -> None:
    await study.run("single-stream", closed(base, 1, duration_s=flags.duration, warm_up_s=flags.warm_up))


async def measure_multi(study: Study, base: Settings, flags: argparse.Namespace) -> None:
    settings = closed(base, 1, duration_s=flags.duration, warm_up_s=flags.warm_up)
    text = f"{settings.text}, {flags.pictures} pictures a query"
    settings = replace(settings, connections=flags.pictures, text=text)
    await study.run("multi-stream", settings, wrap=lambda transport: Query(transport, flags.pictures))


def findings(steps: Sequence[Step], flags: argparse.Namespace, *, name: str) -> Findings:
    """`name`: of the percentile that counts."""
    if not steps:
        return Findings({}, [], notes_of(steps), is_answered=False)
    step = steps[0]
    pictures = getattr(flags, "pictures", 1)
    value, rate = percentile_of(step, name), step.summary["rates"]["achieved"]
    rows = [
        (f"{name}, ms", "n too small" if value is None else f"{value:.4g}", interval_of(step, name)),
        ("queries", str(step.summary["rates"]["succeeded"]), ""),
        ("queries per second", f"{rate:.2f}", ""),
        ("pictures per second", f"{rate * pictures:.2f}", ""),
    ]
    values = {
        "percentile": name,
        "milliseconds": value,
        "pictures_a_query": pictures,
        "queries_per_second": rate,
        "pictures_per_second": rate * pictures,
    }
    return Findings(values, [Grid(step.label, ("", "", "95 % interval"), rows)], notes_of(steps), value is not None)


SINGLE = Scenario(
    "single-stream",
    "how long one picture takes when nothing else goes on (MLPerf SingleStream, p90)",
    add_flags,
    at_address(measure_single),
    partial(findings, name="p90"),
    shows_runs=True,
)
MULTI = Scenario(
    "multi-stream",
    "how long a query of 8 pictures takes, until the last is answered (MLPerf MultiStream, p99)",
    add_multi_flags,
    at_address(measure_multi),
    partial(findings, name="p99"),
    shows_runs=True,
)
