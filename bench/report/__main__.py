"""`python -m bench.report DIR`: the table and the report of a result that is there, made again from its samples.

For a run whose report could not be drawn, or to see an old one as reports look today. Measures nothing, and writes
report.html alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import start

if __name__ == "__main__":
    start.loading()

from bench import terminal
from bench.errors import BenchError
from bench.report.files import read_result
from bench.report.html import REPORT, write_page
from bench.report.result import document, show

GOOD, BAD_INPUT, NOT_WRITTEN = 0, 2, 3
"""Exit status, as of bench/test.py."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns the exit status."""
    flags = _parser().parse_args(arguments)
    console, errors = terminal.output(), terminal.errors()
    try:
        result = read_result(flags.result)
    except BenchError as error:
        errors.print(f"report: {error}")
        return BAD_INPUT
    show(console, result.summary)
    out = flags.out or flags.result
    try:
        write_page(out, document(result.samples, result.summary))
    except BenchError as error:
        errors.print(f"report: {error}")
        return NOT_WRITTEN
    console.print(f"written to {out / REPORT}", soft_wrap=True)
    return GOOD


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m bench.report", description="The report of a stored result, again.", allow_abbrev=False
    )
    made.add_argument("result", type=Path, metavar="DIR", help="what bench/test.py --out wrote")
    made.add_argument("--out", type=Path, metavar="DIR", help="report.html is written here (default: into the result)")
    return made


if __name__ == "__main__":
    sys.exit(start.run(main))
