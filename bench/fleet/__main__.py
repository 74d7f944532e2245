"""`python -m bench.fleet`: opens thousands of tunnels to one gateway on this machine and says what they cost.

A bar that is missed is shown and is no failure: a busy machine gives bad times. Memory and CPU time hold all the same.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import start

if __name__ == "__main__":
    start.loading()

from bench import terminal
from bench.errors import BenchError
from bench.flags import count, positive
from bench.fleet.document import FILE
from bench.fleet.run import Plan, study
from bench.peers.table import show
from bench.report.files import check_writable, write_json

GOOD, BAD_INPUT, NOT_WRITTEN, INTERRUPTED = 0, 2, 3, 130
"""Exit status."""
FILE_WIDTH = 150
"""Characters of a line where no terminal says how many it has."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns the exit status."""
    typed = sys.argv[1:] if arguments is None else arguments
    flags = parser().parse_args(typed)
    console, errors = terminal.output(), terminal.errors()
    if not console.is_terminal:
        console.width = FILE_WIDTH
    plan = Plan(
        flags.tunnels, flags.base, flags.processes, flags.settle, flags.window, flags.down, flags.decisions, flags.seed
    )
    try:
        if flags.out is not None:
            check_writable(flags.out)
        found = asyncio.run(study(plan, ["python", "-m", "bench.fleet", *typed], console))
    except BenchError as error:
        errors.print(f"fleet: {error}")
        return BAD_INPUT
    except KeyboardInterrupt:
        errors.print("fleet: interrupted; everything that was started has ended")
        return INTERRUPTED
    for grid in found.grids():
        show(console, grid)
    try:
        if flags.out is not None:
            write_json(flags.out / FILE, found.as_json())
    except BenchError as error:
        errors.print(f"fleet: {error}")
        return NOT_WRITTEN
    return GOOD


def parser() -> argparse.ArgumentParser:
    """Its flags; docs/reference/bench-fleet.md describes each."""
    made = argparse.ArgumentParser(
        prog="python -m bench.fleet", description="What thousands of tunnels cost one gateway.", allow_abbrev=False
    )
    made.add_argument("--tunnels", type=count, default=5000, metavar="N", help="at the most (default: 5000)")
    made.add_argument("--base", type=count, default=500, metavar="N", help="memory is compared with (default: 500)")
    made.add_argument("--processes", type=count, default=4, metavar="N", help="that hold the workers (default: 4)")
    made.add_argument("--settle", type=positive, default=10.0, metavar="S", help="before memory is read (default: 10)")
    made.add_argument("--window", type=positive, default=20.0, metavar="S", help="of idling (default: 20)")
    made.add_argument("--down", type=positive, default=5.0, metavar="S", help="without a gateway (default: 5)")
    made.add_argument(
        "--decisions",
        nargs="*",
        type=count,
        default=[10, 100, 1000, 5000],
        metavar="N",
        help="workers to choose from (default: 10 100 1000 5000)",
    )
    made.add_argument("--seed", type=int, default=1, metavar="N", help="of the workers' backoffs (default: 1)")
    made.add_argument("--out", type=Path, metavar="DIR", help=f"{FILE} is written here")
    return made


if __name__ == "__main__":
    sys.exit(start.run(main))
