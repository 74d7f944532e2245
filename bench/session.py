"""One measurement from its settings to its numbers: a first request to see that all is well, the run, the summary.

Ctrl-C ends a run and never its data: the first one stops the schedule and waits for what is in flight, the second cuts
that off.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from rich.console import Console

from bench.between import link_to
from bench.errors import BenchError, printable
from bench.flags import Settings
from bench.load.clock import Clock, SystemClock
from bench.load.generator import Generator, Run
from bench.load.sample import Recorder, Sample
from bench.load.target import Target
from bench.load.transport import HttpTransport
from bench.measure.environment import environment, without_secrets
from bench.measure.summary import About, Summary, summarize
from bench.report.live import Progress, show_progress

PROBE_TIMEOUT_S = 10.0
NS = 1_000_000_000


@dataclass(frozen=True)
class Outcome:
    """What a measurement gives."""

    run: Run
    summarize: Callable[[], Summary]
    """Made when the samples are safe."""
    spill_error: str
    """Why samples had to be held in memory; '' if they had not."""


async def measure(settings: Settings, console: Console, command: Sequence[str]) -> Outcome:
    """All of it. `command`: as typed, for the report. Raises BenchError when the first request fails."""
    started = datetime.now(UTC)
    surroundings = environment(command, [settings.target.token])
    recorder = Recorder()
    with SystemClock() as clock, contextlib.closing(recorder):
        async with link_to(settings.target, settings.between) as link:
            await probe(settings, clock, link.target)
            options = {"connections": settings.connections, "keep_alive": settings.keep_alive}
            async with HttpTransport(link.target, clock, **options) as transport:  # type: ignore[arg-type]
                progress = Progress()
                generator = Generator(settings.plan, transport, clock, recorder, progress.add)
                run = await run_shown(generator, progress, console, clock)
        summing = partial(summarize, run, about(settings), surroundings, started, link.as_json())
        return Outcome(run, summing, recorder.spill_error)


async def probe(settings: Settings, clock: Clock, target: Target | None = None) -> None:
    """One request by itself, not counted: most of what can be wrong shows in it. `target`: where to, when that is not
    the settings' own but a network before it. Raises BenchError with advice."""
    sample = Sample(0, clock.now_ns())
    async with HttpTransport(target or settings.target, clock) as transport:
        await transport.send(sample, sample.t_int_ns + round(PROBE_TIMEOUT_S * NS))
        if sample.reason:
            shown = without_secrets(settings.target.url, [settings.target.token])
            raise BenchError(f"{shown}: {_advice(sample, printable(transport.last_detail), settings)}")


def about(settings: Settings) -> About:
    """The part of a summary that says what was asked for."""
    bodies = [len(picture.body) for picture in settings.target.pictures]
    return About(
        url=without_secrets(settings.target.url, [settings.target.token]),
        arrivals=settings.text,
        kind=settings.kind,
        rate=settings.rate,
        connections=settings.connections,
        keep_alive=settings.keep_alive,
        timeout_s=settings.plan.timeout_ns / NS,
        seed=settings.seed,
        pictures=len(bodies),
        picture_bytes_mean=sum(bodies) / len(bodies),
        name=settings.name,
    )


async def run_shown(generator: Generator, progress: Progress, console: Console, clock: Clock) -> Run:
    """Runs it with its progress shown; Ctrl-C ends it early."""
    gc.collect()
    gc.freeze()  # what is there now need not be looked at again: collections stay below the lag's limit
    show = asyncio.create_task(
        show_progress(console, progress, lambda: generator.in_flight, lambda: clock.now_ns() / NS)
    )
    try:
        with _interrupts(generator, console):
            return await generator.run()
    finally:
        gc.unfreeze()
        show.cancel()
        await asyncio.wait({show})


@contextlib.contextmanager
def _interrupts(generator: Generator, console: Console) -> Iterator[None]:
    presses = 0

    def interrupt() -> None:
        nonlocal presses
        presses += 1
        generator.stop()
        if presses > 1:
            generator.cut()
        elif generator.in_flight:
            console.print(f"stopping: {generator.in_flight} requests are in flight. Again cuts them off")

    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _advice(sample: Sample, detail: str, settings: Settings) -> str:
    if sample.status == 401:
        return f"it wants a token ({detail}). Give --token-file FILE, or the token in BENCH_TOKEN"
    if sample.reason == "not_json":
        return f"its answer is not JSON: {detail!r}. Is it the right path? --answer any counts such answers too"
    if sample.status:
        return f"it answers {sample.status} {sample.reason}: {detail}"
    advice = {
        "dns": "no host has that name",
        "refused": "nothing listens there" + (". Start it: make demo" if settings.is_demo else ""),
        "tls": "its certificate is not one of this CA, or not for this name. Give its CA with --ca-file FILE",
        "closed": "it closes the connection without an answer. Is it http or https?",
        "reset": "it resets the connection. Is it http or https?",
        "not_http": "what listens there does not speak HTTP. Is it http or https?",
        "timeout": f"no answer in {PROBE_TIMEOUT_S:g} s",
        "cut_off": "its answer breaks off",
    }
    return f"{advice.get(sample.reason, sample.reason)} ({detail})"
