"""Round trips as a simple script takes them: random waits, and every k-th request is sent synchronously and timed.

Kept because results of that kind are there to compare with, and run beside an open loop of the same rate to show what
it hides. While the script waits for a timed answer it sends nothing, so the server that is to be timed under load has
less of it, and a pause of the server delays one timed request where it should have delayed many. And the time counts
from when the request was sent, not from when it should have been.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np

from bench.flags import Settings, count, positive
from bench.load.clock import Clock
from bench.load.generator import Generator, Plan
from bench.load.sample import Recorder, Sample, Samples
from bench.load.transport import Transport
from bench.measure.percentiles import percentile
from bench.scenarios.plans import poisson
from bench.scenarios.scenario import Findings, Grid, Scenario, add_address_flags, at_address, notes_of
from bench.scenarios.study import Step, Study

MS = 1e6
TIMED, OTHER = "timed", "other"
SCRIPT, OPEN = "script", "open-loop"


class Script(Generator):
    """Waits, sends, waits; each `every`-th request holds up the next wait until it is answered."""

    def __init__(
        self,
        plan: Plan,
        transport: Transport,
        clock: Clock,
        recorder: Recorder,
        on_done: Callable[[Sample], None] = lambda _sample: None,
        *,
        every: int,
    ) -> None:
        super().__init__(plan, transport, clock, recorder, on_done)
        self._every = every

    async def _open_loop(self) -> None:
        plan, clock = self._plan, self._clock
        assert plan.arrivals is not None
        assert plan.duration_ns is not None
        before = 0
        for offset in plan.arrivals.start():
            gap_ns, before = offset - before, offset
            await clock.wait_until_ns(clock.now_ns() + gap_ns)
            now_ns = clock.now_ns()
            if now_ns - self._started_ns >= plan.duration_ns:
                return
            self._occupancy.enter(now_ns, now_ns)
            sample = self._intend(now_ns)
            is_timed = sample.index % self._every == self._every - 1
            sample.label = TIMED if is_timed else OTHER
            if is_timed:
                await self._request(sample)
            else:
                self._launch(self._request(sample))


def add_flags(made: argparse.ArgumentParser) -> None:
    how = add_address_flags(made)
    how.add_argument("--rate", type=positive, default=50.0, help="by the waits alone (default: 50)")
    how.add_argument("--every", type=count, default=10, metavar="K", help="each K-th is timed (default: 10)")
    how.add_argument("--duration", type=positive, default=20.0, metavar="S", help="of each run (default: 20)")


async def measure(study: Study, base: Settings, flags: argparse.Namespace) -> None:
    """The script, then the open loop with the same waits."""

    def make(*arguments: object) -> Generator:
        return Script(*arguments, every=flags.every)  # type: ignore[arg-type]  # as the study makes a Generator

    settings = poisson(base, flags.rate, flags.seed, duration_s=flags.duration, warm_up_s=flags.warm_up)
    await study.run(SCRIPT, settings, role=SCRIPT, make=make)
    await study.run(OPEN, settings, role=OPEN)


def findings(steps: Sequence[Step], flags: argparse.Namespace) -> Findings:
    """What the script says, what its other requests met, and what an open loop says."""
    values: dict[str, object] = {"wanted_rate": flags.rate, "every": flags.every}
    rows = []
    for step in steps:
        measured = step.run.samples.measured()
        sets = [("open loop", "open_loop", measured)]
        if step.role == SCRIPT:
            timed = measured.take(_is_timed(measured))
            sets = [("script, timed", "timed", timed), ("script, all", "all_of_script", measured)]
        for text, key, samples in sets:
            found = _numbers(samples, step)
            values[key] = found
            rows.append((text, *(_text(value) for value in found.values())))
    columns = ("", "n", "sent /s", "p50, ms", "p90, ms", "p99, ms", "largest, ms")
    notes = notes_of(steps)
    if steps:
        notes.append("the script sends nothing while it waits for a timed answer: quote the open loop")
    return Findings(values, [Grid("round trips", columns, rows)], notes, bool(rows))


def _is_timed(samples: Samples) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    code = samples.labels.index(TIMED) if TIMED in samples.labels else -1
    return np.asarray(samples.rows["label"] == code)


def _numbers(samples: Samples, step: Step) -> dict[str, float | None]:
    response = np.sort(samples.take(samples.is_ok).response_ns / MS)
    found = {f"p{q * 100:g}_ms": percentile(response, q) for q in (0.5, 0.9, 0.99)}
    return {
        "requests": len(samples),
        "sent_per_second": step.summary["rates"]["offered"],
        **{name: one and one.value for name, one in found.items()},
        "max_ms": float(response[-1]) if len(response) else None,
    }


def _text(value: float | None) -> str:
    return "n too small" if value is None else f"{value:.4g}"


SCENARIO = Scenario(
    "round-trip",
    "random waits with every k-th request timed synchronously, and what that hides",
    add_flags,
    at_address(measure),
    findings,
)
