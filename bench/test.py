"""`python bench/test.py`: end-to-end latency, jitter and throughput of a gateway, or of any address that takes a
picture.

With no flags it measures the demo's gateway. The study's rules are those of docs/reference/bench.md; this file only
puts the parts together and sees to it that no run ends without its data.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TypeVar

if not __package__:  # started as a file: python looks for modules beside it, and ours begin one folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from rich.console import Console

from bench.errors import BenchError
from bench.flags import parser, settings_of
from bench.measure.summary import is_strictly_good
from bench.report import table
from bench.report.files import SUMMARY, write_result
from bench.session import Outcome, measure

GOOD, NOT_GOOD, BAD_INPUT, NOT_WRITTEN, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit status: fine; nothing succeeded, or --strict and the run cannot be trusted; the run could not begin; its data is
elsewhere than in --out; Ctrl-C."""

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns the exit status."""
    flags = _parser().parse_args(arguments)
    console, errors = Console(), Console(stderr=True, soft_wrap=True, highlight=False)
    command = ["python", "bench/test.py", *(sys.argv[1:] if arguments is None else arguments)]
    try:
        _check_out(flags.out)
        outcome = run_loop(measure(settings_of(flags), console, command))
    except BenchError as error:
        errors.print(f"bench: {error}", markup=False)
        return BAD_INPUT
    except KeyboardInterrupt:
        errors.print("bench: interrupted before the run began")
        return INTERRUPTED
    return _finish(outcome, flags, console, errors)


def run_loop(coroutine: Coroutine[object, object, T]) -> T:
    """Runs it on uvloop where there is one: a third less time per request."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(coroutine)
    return uvloop.run(coroutine)


def _parser() -> argparse.ArgumentParser:
    made = parser("python bench/test.py", "Latency, jitter and throughput of an address that takes pictures.")
    after = made.add_argument_group("afterwards")
    after.add_argument("--out", type=Path, metavar="DIR", help="samples, summary and histogram are written here")
    after.add_argument(
        "--strict", action="store_true", help="status 1 when the generator was the limit, or requests were not sent"
    )
    return made


def _check_out(directory: Path | None) -> None:
    """That a result can be written is seen before it is measured. Raises BenchError."""
    if directory is None:
        return
    if (directory / SUMMARY).exists():
        raise BenchError(f"{directory} has a result already: give another --out, or remove it")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise BenchError(f"cannot write to {directory}: {error.strerror or error}") from error


def _finish(outcome: Outcome, flags: argparse.Namespace, console: Console, errors: Console) -> int:
    """Writes first, then shows. Ctrl-C waits: what was measured is worth a second."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    status = GOOD
    if outcome.spill_error:
        errors.print(f"bench: samples were held in memory, their file could not be written: {outcome.spill_error}")
    if flags.out is not None:
        status = _write(outcome, flags.out, console, errors)
    table.show(console, outcome.summary)
    if not outcome.summary["rates"]["succeeded"] or (flags.strict and not is_strictly_good(outcome.summary)):
        status = status or NOT_GOOD
    return INTERRUPTED if outcome.run.is_interrupted and not status else status


def _write(outcome: Outcome, directory: Path, console: Console, errors: Console) -> int:
    try:
        write_result(directory, outcome.run.samples, outcome.summary)
    except BenchError as error:
        errors.print(f"bench: {error}", markup=False)
        elsewhere = Path(tempfile.mkdtemp(prefix="bench-"))
        try:
            write_result(elsewhere, outcome.run.samples, outcome.summary)
            errors.print(f"bench: the result is in {elsewhere} instead", markup=False)
        except BenchError as second:
            errors.print(f"bench: {second}. All that is left of this run is the table", markup=False)
        return NOT_WRITTEN
    console.print(f"written to {directory}", markup=False, soft_wrap=True)
    return GOOD


if __name__ == "__main__":
    sys.exit(main())
