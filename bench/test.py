"""`python bench/test.py`: end-to-end latency, jitter and throughput of a gateway, or of any address that takes a
picture.

With no flags it measures the demo's gateway. The study's rules are those of docs/reference/bench.md; this file only
puts the parts together and sees to it that no run ends without its data.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # started as a file: python looks for modules beside it, and ours begin one folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from rich.console import Console

from bench.ab import add_ab_flags, measure_pair, pair_of
from bench.comparison import arms_of
from bench.errors import BenchError
from bench.flags import parser, settings_of
from bench.load.loop import run_loop
from bench.measure.summary import Summary, is_strictly_good
from bench.report import ratios, table
from bench.report.files import SUMMARY, write_result
from bench.report.html import write_page, write_report
from bench.report.pair import pair_report
from bench.session import Outcome, measure

GOOD, NOT_GOOD, BAD_INPUT, NOT_WRITTEN, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit status: fine; nothing succeeded, or --strict and the run cannot be trusted; the run could not begin; its data is
elsewhere than in --out; Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns the exit status."""
    flags = _parser().parse_args(arguments)
    console, errors = Console(emoji=False), Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)
    command = ["python", "bench/test.py", *(sys.argv[1:] if arguments is None else arguments)]
    try:
        _check_out(flags.out)
        pair = pair_of(flags)
        run = measure_pair(pair, console, command) if pair else measure(settings_of(flags), console, command)
        outcome = run_loop(run)
    except BenchError as error:
        errors.print(f"bench: {error}", markup=False)
        return BAD_INPUT
    except KeyboardInterrupt:
        errors.print("bench: interrupted before the run began")
        return INTERRUPTED
    return _finish(outcome, flags, console, errors)


def _parser() -> argparse.ArgumentParser:
    made = parser("python bench/test.py", "Latency, jitter and throughput of an address that takes pictures.")
    add_ab_flags(made)
    after = made.add_argument_group("afterwards")
    after.add_argument(
        "--out", type=Path, metavar="DIR", help="samples, summary, histogram and report are written here"
    )
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
    _show(outcome.summary, console)
    if not outcome.summary["rates"]["succeeded"] or (flags.strict and not is_strictly_good(outcome.summary)):
        status = status or NOT_GOOD
    return INTERRUPTED if outcome.run.is_interrupted and not status else status


def _show(summary: Summary, console: Console) -> None:
    if "comparison" in summary:
        ratios.show(console, summary["comparison"])
    else:
        table.show(console, summary)


def _write_all(directory: Path, outcome: Outcome) -> None:
    """The data first: it is what cannot be made again."""
    samples, summary = outcome.run.samples, outcome.summary
    write_result(directory, samples, summary)
    if "comparison" in summary:
        write_page(directory, pair_report(*arms_of(samples, summary), summary["comparison"]))
    else:
        write_report(directory, samples, summary)


def _write(outcome: Outcome, directory: Path, console: Console, errors: Console) -> int:
    try:
        _write_all(directory, outcome)
    except BenchError as error:
        errors.print(f"bench: {error}", markup=False)
        elsewhere = Path(tempfile.mkdtemp(prefix="bench-"))
        try:
            _write_all(elsewhere, outcome)
            errors.print(f"bench: the result is in {elsewhere} instead", markup=False)
        except BenchError as second:
            errors.print(f"bench: {second}. All that is left of this run is the table", markup=False)
        return NOT_WRITTEN
    console.print(f"written to {directory}", markup=False, soft_wrap=True)
    return GOOD


if __name__ == "__main__":
    sys.exit(main())
