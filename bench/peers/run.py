"""One comparison from the systems that are there to all its numbers: start them, measure them in turn, then one by one.

A system that does not start or goes away is left out and named; the others go on. Nothing of any is left at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console

from bench.errors import BenchError
from bench.measure.environment import environment
from bench.peers.document import Comparison
from bench.peers.grounds import Grounds, prepared
from bench.peers.measure import Measured, Plan, interleaved
from bench.peers.results import cells_of, failed
from bench.peers.slow_link import Slow, SlowPlan, over_slow_link
from bench.peers.system import Running, System


@dataclass(frozen=True)
class Lineup:
    """Who takes part."""

    present: Sequence[System]
    skipped: Mapping[str, str]
    """The others, and what to install."""


def lineup(systems: Sequence[System]) -> Lineup:
    """Looks for what each needs."""
    whys = {one.name: one.missing() for one in systems}
    return Lineup([one for one in systems if not whys[one.name]], {name: why for name, why in whys.items() if why})


def compare(
    who: Lineup, plan: Plan, slow_plan: SlowPlan, over_slow: Sequence[str], command: Sequence[str], console: Console
) -> Comparison:
    """All of it. `over_slow`: names of those that go over the slow link too. Raises BenchError."""
    started = datetime.now(UTC)
    broken: dict[str, str] = {}
    with prepared() as grounds:
        with contextlib.ExitStack() as stack:
            running = dict(_started(stack, grounds, who.present, broken, console))
            if not running:
                raise BenchError("no system could be started")
            console.print(f"{len(running)} systems side by side: some {plan.seconds(list(running)):.0f} s")
            found = interleaved(grounds, running, plan, _Progress(console))
        slow = list(_over_slow(grounds, who.present, slow_plan, over_slow, broken, console))
    cells = cells_of(found)
    for name, why in [*found.lost.items(), *failed(cells.values()).items()]:
        _note(broken, name, why)
    return Comparison(
        started=started,
        environment=environment(command),
        plan=plan,
        systems=[one for one in who.present if one.name in running],
        versions={name: one.version for name, one in running.items()},
        skipped=who.skipped,
        cells=cells,
        peaks=found.peaks,
        slow=slow,
        broken=broken,
    )


def _started(
    stack: contextlib.ExitStack,
    grounds: Grounds,
    systems: Sequence[System],
    broken: dict[str, str],
    console: Console,
) -> Iterator[tuple[str, Running]]:
    for system in systems:
        try:
            running = stack.enter_context(grounds.started(system, system.name))
        except BenchError as error:
            _note(broken, system.name, str(error))
            continue
        console.print(f"{system.title}: {running.version}")
        yield system.name, running


def _note(broken: dict[str, str], name: str, why: str) -> None:
    """One more reason."""
    broken[name] = f"{broken[name]}; {why}" if name in broken else why


def _over_slow(
    grounds: Grounds,
    systems: Sequence[System],
    plan: SlowPlan,
    names: Sequence[str],
    broken: dict[str, str],
    console: Console,
) -> Iterator[Slow]:
    chosen = [one for one in systems if one.name in names and one.name not in broken]
    if chosen:
        console.print(f"{len(chosen)} over a slow link, one by one: some {plan.seconds(len(chosen)):.0f} s")
    for system in chosen:
        try:
            slow = asyncio.run(over_slow_link(grounds, system, plan))
        except BenchError as error:
            _note(broken, system.name, f"slow link: {error}")
            continue
        if slow.failures:
            _note(broken, system.name, f"slow link: {slow.failures} requests failed")
        yield slow


class _Progress:
    """Says each load once, as it begins."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._load = (0, 0)

    def __call__(self, one: Measured) -> None:
        if (one.size, one.concurrency) != self._load:
            self._load = one.size, one.concurrency
            self._console.print(f"{one.size} bytes, {one.concurrency} at a time")
