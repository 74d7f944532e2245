"""A study keeps what was run, however it ends; plans are what they say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench.flags import Settings
from bench.load.arrivals import NS
from bench.load.generator import Generator, Run
from bench.load.transport import Transport
from bench.report.live import Progress
from bench.scenarios.plans import at_offsets, at_once, closed, poisson
from bench.scenarios.scenario import notes_of
from bench.scenarios.study import Step, Stopped, Study
from tests.support.studies import BASE
from tests.support.virtual_time import KnownServer, VirtualClock


async def test_a_stopped_run_is_kept_and_stops_the_study() -> None:
    """Ctrl-C in the second run: both are there, the second as interrupted, and the scenario goes no further."""
    clock = VirtualClock()
    told: list[Step] = []

    @asynccontextmanager
    async def open_known(_settings: Settings) -> AsyncIterator[Transport]:
        yield KnownServer(clock, lambda _: 10)

    async def watch(generator: Generator, progress: Progress) -> Run:
        if told:
            running = asyncio.create_task(generator.run())
            await clock.pass_ns(NS)
            generator.stop()
            return await running
        return await generator.run()

    study = Study(clock, open_known, watch=watch, on_step=told.append)

    async def scenario() -> None:
        for label in ("one", "two", "three"):
            await study.run(label, poisson(BASE, 50, 1, duration_s=5, warm_up_s=0))

    with pytest.raises(Stopped):
        await clock.drive(scenario())
    assert [(step.label, step.is_interrupted) for step in told] == [("one", False), ("two", True)]
    assert told == study.steps
    assert notes_of(told)[0].startswith("interrupted")
    assert told[1].summary["run"]["name"] == "two"


def test_a_poisson_plan_drops_its_warm_up() -> None:
    """By time the warm-up comes on top; by count so many requests as it has at that rate."""
    by_time = poisson(BASE, 40, 3, duration_s=10, warm_up_s=2).plan
    assert (by_time.duration_ns, by_time.warm_up.duration_ns) == (12 * NS, 2 * NS)
    by_count = poisson(BASE, 40, 3, count=100, warm_up_s=2).plan
    assert (by_count.count, by_count.warm_up.count, by_count.duration_ns) == (180, 80, None)


def test_other_plans() -> None:
    """A closed loop has its loops as connections; a list of offsets is its own end; all at once may be in flight."""
    loops = closed(BASE, 3, duration_s=1, warm_up_s=0)
    assert (loops.plan.closed_loops, loops.connections, loops.plan.arrivals) == (3, 3, None)
    listed = at_offsets(BASE, [0, 10, 30], "three")
    assert listed.plan.arrivals is not None
    assert (list(listed.plan.arrivals.start()), listed.plan.count, listed.plan.arrivals.mean_gap_ns) == (
        [0, 10, 30],
        3,
        15,
    )
    many = at_once(BASE, 30_000, 8)
    assert (many.plan.max_in_flight, many.connections) == (30_000, 8)
