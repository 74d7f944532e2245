"""SingleStream and MultiStream, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from bench.load.sample import INTERRUPTED, NOT_SENT, Sample
from bench.scenarios.streams import MULTI, SINGLE, Query, measure_multi, measure_single
from tests.support.studies import flags_of, steps_of
from tests.support.virtual_time import MS, KnownServer, VirtualClock


async def test_single_stream_sends_the_next_on_completion() -> None:
    """Nine of ten take 10 ms and one 60: 15 ms on average, so 20 s make 1333 or 1334, and p90 is 10 ms."""
    flags = flags_of(SINGLE)
    steps = await steps_of(
        measure_single, flags, lambda clock, _: KnownServer(clock, lambda index: 60 if index % 10 == 9 else 10)
    )
    found = SINGLE.findings(steps, flags)
    assert found.values["percentile"] == "p90"
    assert found.values["milliseconds"] == 10
    assert found.values["queries_per_second"] == pytest.approx(1 / 0.015, rel=0.01)
    assert found.is_answered
    assert any(note.startswith("short: runs from 20 s") for note in found.notes)


async def test_a_query_lasts_until_its_last_picture() -> None:
    """Eight pictures of 1 to 8 ms, sent together: each query takes 8 ms, and 125 queries a second are 1000 pictures."""
    flags = flags_of(MULTI)
    steps = await steps_of(measure_multi, flags, lambda clock, _: KnownServer(clock, lambda index: 1 + index % 8))
    found = MULTI.findings(steps, flags)
    assert (found.values["percentile"], found.values["milliseconds"]) == ("p99", 8)
    assert found.values["queries_per_second"] == pytest.approx(125, rel=0.001)
    assert found.values["pictures_per_second"] == pytest.approx(1000, rel=0.001)
    samples = steps[0].run.samples
    assert set(samples.column("bytes_out")) == {8000}
    assert steps[0].summary["run"]["connections"] == 8


async def test_a_query_with_a_failed_picture_has_failed() -> None:
    """One picture in the third query times out: the query has, and counts as nothing else."""
    clock = VirtualClock()
    query = Query(KnownServer(clock, lambda index: 1e9 if index == 17 else 5), 8)
    sample = Sample(2, clock.now_ns())
    await clock.drive(query.send(sample, clock.now_ns() + 100 * MS))
    assert (sample.reason, sample.status) == ("timeout", 0)
    assert sample.t_done_ns - sample.t_int_ns == 100 * MS


async def test_a_query_that_left_in_part_was_sent() -> None:
    """One picture was answered and one never sent: a time-out, since something of it did leave."""

    class Half:
        async def send(self, sample: Sample, deadline_ns: int) -> None:
            sample.t_done_ns = deadline_ns
            if sample.index:
                sample.reason = NOT_SENT
            else:
                sample.t_send_ns = 1

    sample = Sample(0, 1)
    await Query(Half(), 2).send(sample, 10)
    assert (sample.reason, sample.t_send_ns) == ("timeout", 1)


async def test_a_query_that_is_cut_off_cuts_its_pictures() -> None:
    """Cancelled: all of its requests are, and the cancellation goes on."""
    ended = []

    class Slow:
        async def send(self, sample: Sample, _deadline_ns: int) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                sample.reason = INTERRUPTED
                ended.append(sample.index)
                raise

    task = asyncio.create_task(Query(Slow(), 3).send(Sample(1, 0), 1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [3, 4, 5]


def test_nothing_was_run() -> None:
    """Interrupted before the first run: no answer, and why."""
    found = SINGLE.findings([], flags_of(SINGLE))
    assert (found.is_answered, found.notes) == (False, ["no run was made"])
