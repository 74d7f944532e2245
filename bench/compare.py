"""`python bench/compare.py A B`: two results of bench/test.py side by side, or one that holds both (`--ab`).

Says that something is better only where the interval of the ratio leaves out 1. Refuses to compare a result with
itself, and to hide that two results were not measured in one run. Two results of bench.peers, or a baseline and one,
are compared by their ratios to the same peers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

if not __package__:  # started as a file: python looks for modules beside it, and ours begin one folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench import start

if __name__ == "__main__":
    start.loading()

from rich.console import Console

from bench import terminal
from bench.comparison import comparison, regressions, sides_of
from bench.errors import BenchError
from bench.peers.baseline import changes, is_result, read_ratios
from bench.peers.table import grid_of, show
from bench.report import ratios
from bench.report.files import finite, read_result
from bench.report.html import write_page
from bench.report.pair import pair_report

GOOD, WORSE, BAD_INPUT, NOT_WRITTEN = 0, 1, 2, 3
"""Exit status: compared; with --relative the second is worse; there is nothing to compare; the report was not
written."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns the exit status."""
    flags = _parser().parse_args(arguments)
    errors = terminal.errors()
    try:
        if len({path.resolve() for path in flags.results}) < len(flags.results) or len(flags.results) > 2:
            raise BenchError("name one interleaved result, or two different ones")
        if all(is_result(path) for path in flags.results):
            return _of_peers(flags, errors)
        first, second = sides_of([read_result(path) for path in flags.results])
        found = comparison(first, second, flags.seed)
    except BenchError as error:
        errors.print(f"compare: {error}")
        return BAD_INPUT
    if flags.json:
        terminal.plain().print(json.dumps(finite(found), indent=2))
    else:
        ratios.show(terminal.output(), found)
    try:
        if flags.out is not None:
            write_page(flags.out, pair_report(first, second, found))
    except BenchError as error:
        errors.print(f"compare: {error}")
        return NOT_WRITTEN
    worse = regressions(found, flags.tolerance / 100) if flags.relative else []
    if worse:
        errors.print(f"compare: {second.name} is worse than {first.name}: {', '.join(worse)}")
    return WORSE if worse else GOOD


def _of_peers(flags: argparse.Namespace, errors: Console) -> int:
    """The same for results of bench.peers. Raises BenchError."""
    if len(flags.results) < 2:
        raise BenchError("name a second result of bench.peers, or a baseline before this one")
    if flags.out is not None:
        raise BenchError("--out: results of bench.peers have no common report")
    found = changes(*(read_ratios(path) for path in flags.results))
    if flags.json:
        terminal.plain().print(json.dumps([asdict(one) for one in found], indent=2))
    else:
        show(terminal.output(), grid_of(found))
    worse = [one.text for one in found if one.is_worse(flags.tolerance / 100)] if flags.relative else []
    if worse:
        errors.print(f"compare: {flags.results[1]} is worse than {flags.results[0]}: {'; '.join(worse)}")
    return WORSE if worse else GOOD


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python bench/compare.py",
        description="Two results side by side: ratios with intervals, and a verdict where one was shown.",
        allow_abbrev=False,
    )
    made.add_argument(
        "results", nargs="+", type=Path, metavar="DIR", help="one result of test.py --ab, or two results, A and B"
    )
    made.add_argument("--out", type=Path, metavar="DIR", help="report.html is written here")
    made.add_argument("--json", action="store_true", help="the comparison as JSON in the place of the table")
    made.add_argument(
        "--relative", action="store_true", help="the first is the baseline: status 1 where the second is worse"
    )
    made.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="PERCENT",
        help="by more than this, with --relative (default: 0)",
    )
    made.add_argument("--seed", type=int, metavar="N", help="of the bootstrap (default: that of the first result)")
    return made


if __name__ == "__main__":
    sys.exit(start.run(main))
