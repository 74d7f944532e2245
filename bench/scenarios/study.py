"""A scenario's runs: made one after the other, summed up, shown in a line, and written as soon as each is over.

So whatever ends a scenario early, what was measured is there. Refuses to interpret: that is each scenario's own file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bench.flags import Settings
from bench.load.clock import Clock
from bench.load.generator import Generator, Run
from bench.load.sample import Recorder, Sample
from bench.load.transport import Transport
from bench.measure.summary import Summary, summarize
from bench.report.live import Progress
from bench.session import about, probe


@dataclass(frozen=True)
class Step:
    """One run of a scenario."""

    label: str
    """Its name, and that of its folder."""
    role: str
    """What it is for, as its scenario says."""
    run: Run
    summary: Summary
    is_interrupted: bool
    """Whether a person ended it. That its scenario did, having seen enough, is no interruption."""


class Stopped(Exception):
    """A person ended the scenario; its steps are kept."""


Open = Callable[[Settings], AbstractAsyncContextManager[Transport]]
Watch = Callable[[Generator, Progress], Awaitable[Run]]
Make = Callable[..., Generator]
Decided = Callable[[Sample], bool]


async def _unwatched(generator: Generator, _progress: Progress) -> Run:
    return await generator.run()


class Study:
    """Makes runs and keeps them."""

    def __init__(
        self,
        clock: Clock,
        open_transport: Open,
        *,
        environment: Mapping[str, object] | None = None,
        watch: Watch = _unwatched,
        on_step: Callable[[Step], None] = lambda _step: None,
    ) -> None:
        """`watch` runs a generator where a person sees it; `on_step` is told of every run that is over."""
        self._clock = clock
        self._open = open_transport
        self._environment = environment or {}
        self._watch = watch
        self._on_step = on_step
        self.steps: list[Step] = []

    async def probe(self, settings: Settings) -> None:
        """One request, not counted, against what would make every run fail. Raises BenchError with advice."""
        await probe(settings, self._clock)

    async def run(
        self,
        label: str,
        settings: Settings,
        *,
        role: str = "",
        is_decided: Decided | None = None,
        make: Make = Generator,
        wrap: Callable[[Transport], Transport] = lambda transport: transport,
    ) -> Step:
        """One run. `is_decided` sees each sample and ends the run when it returns True; `make`: what sends, in place of
        a Generator; `wrap`: what stands before the transport. Raises Stopped when a person ended it."""
        started, progress, recorder = datetime.now(UTC), Progress(), Recorder()
        decided = False

        def on_done(sample: Sample) -> None:
            nonlocal decided
            progress.add(sample)
            if is_decided is not None and not decided and is_decided(sample):
                decided = True
                generator.stop()

        with contextlib.closing(recorder):
            async with self._open(settings) as transport:
                generator = make(settings.plan, wrap(transport), self._clock, recorder, on_done)
                run = await self._watch(generator, progress)
            run = replace(run, is_interrupted=run.is_interrupted and not decided)
            summary = summarize(
                run, about(replace(settings, name=f"{settings.name} {label}".strip())), self._environment, started
            )
        step = Step(label, role, run, summary, run.is_interrupted)
        self.steps.append(step)
        self._on_step(step)
        if step.is_interrupted:
            raise Stopped
        return step
