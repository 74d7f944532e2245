"""`python -m bench.scenarios NAME [flags]`: one question, its runs, its findings.

Every run is written as soon as it is over and the findings last, from whatever runs there are: Ctrl-C costs no data.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bench import start

if __name__ == "__main__":
    start.loading()

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import terminal
from bench.errors import BenchError
from bench.flags import Settings
from bench.load.clock import Clock, SystemClock
from bench.load.generator import Generator, Run
from bench.load.loop import run_loop
from bench.load.transport import HttpTransport, Transport
from bench.measure.environment import environment
from bench.report import table
from bench.report.files import check_writable, write_json, write_result
from bench.report.html import write_report
from bench.report.live import Progress
from bench.scenarios.registry import SCENARIOS
from bench.scenarios.scenario import Findings, Grid, Scenario
from bench.scenarios.study import Step, Stopped, Study
from bench.session import run_shown
from bench.test import BAD_INPUT, GOOD, INTERRUPTED, NOT_GOOD, NOT_WRITTEN

SCENARIO_FILE = "scenario.json"
SCHEMA = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    scenario, flags = _read(words)
    console, errors = terminal.output(), terminal.errors()
    session = _Session(scenario, flags, words, console, errors)
    return session.run()


def _read(words: list[str]) -> tuple[Scenario, argparse.Namespace]:
    names = argparse.ArgumentParser(
        prog="python -m bench.scenarios",
        usage="%(prog)s NAME [flags]; NAME --help lists the flags of one",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="\n".join(f"{one.name:14} {one.question}" for one in SCENARIOS.values()),
        allow_abbrev=False,
    )
    names.add_argument("name", choices=list(SCENARIOS), metavar="NAME", help="one of those above")
    scenario = SCENARIOS[names.parse_args(words[:1]).name]
    made = argparse.ArgumentParser(
        prog=f"python -m bench.scenarios {scenario.name}", description=scenario.question, allow_abbrev=False
    )
    scenario.add_flags(made)
    after = made.add_argument_group("afterwards")
    after.add_argument("--out", type=Path, metavar="DIR", help="every run, and the findings, are written here")
    return scenario, made.parse_args(words[1:])


class _Session:
    """One start of the program."""

    def __init__(
        self, scenario: Scenario, flags: argparse.Namespace, words: list[str], console: Console, errors: Console
    ) -> None:
        self._scenario = scenario
        self._flags = flags
        self._console = console
        self._errors = errors
        self._steps: list[Step] = []
        self._environment = environment(["python", "-m", "bench.scenarios", *words])
        self._is_written = True

    def run(self) -> int:
        status = GOOD
        try:
            self._check_out()
            run_loop(self._measure())
        except (Stopped, KeyboardInterrupt):
            status = INTERRUPTED
            self._errors.print("bench: interrupted")
        except BenchError as error:
            self._errors.print(f"bench: {error}")
            status = BAD_INPUT
        if status == BAD_INPUT and not self._steps:
            return status
        findings = self._scenario.findings(self._steps, self._flags)
        self._show(findings)
        self._write(findings)
        if not self._is_written:
            return status or NOT_WRITTEN
        return status or (GOOD if findings.is_answered else NOT_GOOD)

    async def _measure(self) -> None:
        with SystemClock() as clock:

            async def watch(generator: Generator, progress: Progress) -> Run:
                return await run_shown(generator, progress, self._console, clock)

            @asynccontextmanager
            async def http(settings: Settings) -> AsyncIterator[Transport]:
                async with open_http(settings, clock) as transport:
                    yield transport

            study = Study(clock, http, environment=self._environment, watch=watch, on_step=self._on_step)
            await self._scenario.measure(study, self._flags)

    def _on_step(self, step: Step) -> None:
        self._steps.append(step)
        if self._scenario.shows_runs:
            table.show(self._console, step.summary)
        else:
            self._console.print(line(step), soft_wrap=True)
        if self._flags.out is not None:
            try:
                write_result(self._flags.out / step.label, step.run.samples, step.summary)
            except BenchError as error:
                self._is_written = False
                self._errors.print(f"bench: {error}")

    def _show(self, findings: Findings) -> None:
        for grid in findings.grids:
            self._console.print(_table(grid))
        for note in findings.notes:
            self._console.print(Text(f"! {note}", style="yellow"))

    def _write(self, findings: Findings) -> None:
        if self._flags.out is None:
            return
        try:
            for step in self._steps:  # now, not between runs, where it would delay the next one
                write_report(self._flags.out / step.label, step.run.samples, step.summary)
            write_json(
                self._flags.out / SCENARIO_FILE,
                {
                    "schema": SCHEMA,
                    "scenario": self._scenario.name,
                    "findings": findings.values,
                    "notes": list(findings.notes),
                    "runs": [step.label for step in self._steps],
                    "environment": self._environment,
                },
            )
        except BenchError as error:
            self._is_written = False
            self._errors.print(f"bench: {error}")
        else:
            self._console.print(f"written to {self._flags.out}", soft_wrap=True)

    def _check_out(self) -> None:
        """Raises BenchError where a result lies already or nothing can be written."""
        out = self._flags.out
        if out is None:
            return
        if (out / SCENARIO_FILE).exists():
            raise BenchError(f"{out} has a result already: give another --out, or remove it")
        check_writable(out)


@asynccontextmanager
async def open_http(settings: Settings, clock: Clock) -> AsyncIterator[Transport]:
    """The door for one run."""
    async with HttpTransport(
        settings.target, clock, connections=settings.connections, keep_alive=settings.keep_alive
    ) as transport:
        yield transport


def line(step: Step) -> str:
    """One run in a line."""
    flow, response = step.summary["rates"], step.summary["response_ms"]["percentiles"]
    shown = "  ".join(
        f"{name} {'n too small' if response[name] is None else format(response[name]['value'], '.4g') + ' ms'}"
        for name in ("p50", "p99")
    )
    return (
        f"{step.label}: {step.summary['run']['arrivals']}: {flow['achieved']:.2f}/s, {shown}, {flow['failed']} failed"
    )


def _table(grid: Grid) -> Table:
    made = Table(
        title=grid.title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for place, column in enumerate(grid.columns):
        made.add_column(column, justify="right" if place else "left")
    for row in grid.rows:
        made.add_row(*row)
    return made


if __name__ == "__main__":
    sys.exit(start.run(main))
