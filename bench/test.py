"""`python bench/test.py`: end-to-end latency, jitter and throughput of a gateway, or of any address that takes a
picture.

With no flags it measures the demo's gateway. The study's rules are those of docs/reference/bench.md; this file only
puts the parts together and sees to it that no run ends without its data.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # started as a file: python looks for modules beside it, and ours begin one folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench import start

if __name__ == "__main__":
    start.loading()

from rich.console import Console

from bench import terminal
from bench.ab import add_ab_flags, measure_pair, pair_of
from bench.errors import BenchError
from bench.flags import parser, settings_of
from bench.keeping import Keeper
from bench.load.loop import run_loop
from bench.load.sample import Samples
from bench.measure.summary import Summary, is_strictly_good
from bench.report.files import SUMMARY, check_writable, write_samples, write_summary
from bench.report.html import write_page
from bench.report.result import document, show
from bench.session import Outcome, measure

GOOD, NOT_GOOD, BAD_INPUT, NOT_WRITTEN, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit status: fine; nothing succeeded, or --strict and the run cannot be trusted; the run could not begin; its data is
elsewhere than in --out, or its report could not be drawn; Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns the exit status."""
    flags = _parser().parse_args(arguments)
    console, errors = terminal.output(), terminal.errors()
    command = ["python", "bench/test.py", *(sys.argv[1:] if arguments is None else arguments)]
    try:
        _check_out(flags.out)
        pair = pair_of(flags)
        run = measure_pair(pair, console, command) if pair else measure(settings_of(flags), console, command)
        outcome = run_loop(run)
    except BenchError as error:
        errors.print(f"bench: {error}")
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
    """Raises BenchError where a result lies already or nothing can be written."""
    if directory is None:
        return
    if (directory / SUMMARY).exists():
        raise BenchError(f"{directory} has a result already: give another --out, or remove it")
    check_writable(directory)


def _finish(outcome: Outcome, flags: argparse.Namespace, console: Console, errors: Console) -> int:
    """What cannot be made again first: samples, then their sum, shown and written, then the pictures. Ctrl-C waits:
    what was measured is worth a second."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if outcome.spill_error:
        errors.print(f"bench: samples were held in memory, their file could not be written: {outcome.spill_error}")
    keeper, samples = Keeper(flags.out, errors), outcome.run.samples
    keeper.keep(lambda directory: write_samples(directory, samples))
    summary = outcome.summarize()
    show(console, summary)
    keeper.keep(lambda directory: write_summary(directory, samples, summary))
    is_drawn = flags.out is None or _draw(samples, summary, keeper, errors)
    status = NOT_WRITTEN if keeper.is_elsewhere or not is_drawn else GOOD
    if flags.out is not None and status == GOOD:
        console.print(f"written to {flags.out}", soft_wrap=True)
    if not summary["rates"]["succeeded"] or (flags.strict and not is_strictly_good(summary)):
        status = status or NOT_GOOD
    return INTERRUPTED if outcome.run.is_interrupted and not status else status


def _draw(samples: Samples, summary: Summary, keeper: Keeper, errors: Console) -> bool:
    """Whether there is a page: whatever goes wrong with a picture costs no data."""
    try:
        page = document(samples, summary)
    except Exception as error:  # a library draws: the rest is written, and the line says how to go on
        errors.print(f"bench: no report: {type(error).__name__}: {error}. Try again with: python -m bench.report DIR")
        return False
    keeper.keep(lambda directory: write_page(directory, page))
    return True


if __name__ == "__main__":
    sys.exit(start.run(main))
