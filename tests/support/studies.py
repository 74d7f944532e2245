"""A scenario over servers whose latencies are known, in virtual time."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from bench.flags import Settings
from bench.load.generator import Plan
from bench.load.target import Picture, Target
from bench.load.transport import Transport
from bench.scenarios.scenario import Scenario
from bench.scenarios.study import Step, Stopped, Study
from tests.support.virtual_time import KnownServer, VirtualClock

BASE = Settings(
    target=Target("http://known/", (Picture("a.png", "image/png", bytes(1000)),)),
    plan=Plan(None, closed_loops=1, count=0),
    kind="closed",
    text="",
    rate=None,
    connections=0,
    keep_alive=True,
    seed=1,
    is_demo=False,
)


def flags_of(scenario: Scenario, *arguments: str) -> argparse.Namespace:
    made = argparse.ArgumentParser()
    scenario.add_flags(made)
    return made.parse_args(arguments)


async def steps_of(
    measure: Callable[[Study, Settings, argparse.Namespace], Awaitable[None]],
    flags: argparse.Namespace,
    server: Callable[[VirtualClock, Settings], KnownServer],
) -> list[Step]:
    """The runs that it makes, also where it was stopped."""
    clock = VirtualClock()

    @asynccontextmanager
    async def known(settings: Settings) -> AsyncIterator[Transport]:
        yield server(clock, settings)

    study = Study(clock, known)
    with suppress(Stopped):
        await clock.drive(_awaited(measure(study, BASE, flags)))
    return study.steps


async def _awaited(one: Awaitable[None]) -> None:
    await one
