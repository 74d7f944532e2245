"""`python -m bench.peers`: this project's relay side by side with other tunnels, in one run, on this machine.

Starts each system that is there, with TLS on every leg that crosses a network and one upstream behind all, gives them
the same load in turn, and says what each took of time, CPU and memory; then the same over a slow link, one by one. A
bar that is missed is shown and is no failure: a busy machine gives bad numbers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import start

if __name__ == "__main__":
    start.loading()

from rich.console import Console

from bench import terminal
from bench.errors import BenchError, printable
from bench.flags import count, positive
from bench.peers.document import Comparison
from bench.peers.measure import Plan
from bench.peers.registry import SYSTEMS
from bench.peers.run import compare, lineup
from bench.peers.slow_link import SlowPlan
from bench.peers.system import Kind
from bench.peers.table import show
from bench.report.files import check_writable

GOOD, BROKEN, BAD_INPUT, NOT_WRITTEN, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit status."""
FILE_WIDTH = 150
"""Characters of a line where no terminal says how many it has."""
NAMES = tuple(one.name for one in SYSTEMS)
ONCE = tuple(one.name for one in SYSTEMS if one.kind is Kind.SAME_WORKER)
"""Measured where bars are read, and nowhere else."""
DIALLING = tuple(one.name for one in SYSTEMS if one.kind in (Kind.TUNNEL, Kind.OURS))
SMOKE = {
    "sizes": [1000, 100_000],
    "concurrency": [4],
    "rounds": 1,
    "block": 1.0,
    "slow": ["echo"],
    "slow_rounds": 1,
    "slow_idle": 2.0,
    "upload": 2_000_000,
}
"""What --smoke says in the place of other flags: whether everything works, and no number to quote."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns the exit status."""
    typed = sys.argv[1:] if arguments is None else arguments
    flags = parser().parse_args(typed)
    if flags.smoke:
        vars(flags).update(SMOKE)
    console, errors = terminal.output(), terminal.errors()
    if not console.is_terminal:
        console.width = FILE_WIDTH
    try:
        comparison = _compare(flags, ["python", "-m", "bench.peers", *typed], console)
    except BenchError as error:
        errors.print(f"peers: {error}")
        return BAD_INPUT
    except KeyboardInterrupt:
        errors.print("peers: interrupted; everything that was started has ended")
        return INTERRUPTED
    _show(comparison, console)
    return _written(comparison, flags, errors)


def _compare(flags: argparse.Namespace, command: Sequence[str], console: Console) -> Comparison:
    """Raises BenchError."""
    for directory in (flags.out, flags.baseline and flags.baseline.parent):
        if directory is not None:
            check_writable(directory)
    who = lineup([one for one in SYSTEMS if one.name in flags.systems])
    for name, why in who.skipped.items():
        console.print(f"skipped: {name}: {why}")
    plan = Plan(flags.sizes, flags.concurrency, flags.rounds, flags.block, flags.seed, ONCE)
    slow_plan = SlowPlan(flags.slow_rounds, flags.slow_idle, flags.upload, flags.seed)
    return compare(who, plan, slow_plan, flags.slow, command, console)


def _show(comparison: Comparison, console: Console) -> None:
    for grid in comparison.grids():
        show(console, grid)
    for name, why in comparison.skipped.items():
        console.print(f"skipped: {name}: {why}")
    for name, why in comparison.broken.items():
        console.print(f"! {printable(f'{name}: {why}')}")


def _written(comparison: Comparison, flags: argparse.Namespace, errors: Console) -> int:
    """The exit status."""
    try:
        if flags.out is not None:
            comparison.write(flags.out)
        if flags.baseline is not None:
            comparison.write_baseline(flags.baseline)
    except BenchError as error:
        errors.print(f"peers: {error}")
        return NOT_WRITTEN
    return GOOD if comparison.is_sound() else BROKEN


def parser() -> argparse.ArgumentParser:
    """Its flags; docs/reference/bench-peers.md describes each."""
    made = argparse.ArgumentParser(
        prog="python -m bench.peers",
        description="This project's relay side by side with other tunnels, in one run.",
        allow_abbrev=False,
    )
    made.add_argument(
        "--systems",
        nargs="+",
        choices=NAMES,
        default=NAMES,
        metavar="NAME",
        help=f"of {', '.join(NAMES)} (default: all)",
    )
    made.add_argument(
        "--sizes",
        nargs="+",
        type=count,
        default=[1000, 100_000, 1_000_000],
        metavar="BYTES",
        help="of a body (default: 1000 100000 1000000)",
    )
    made.add_argument(
        "--concurrency", nargs="+", type=count, default=[1, 4, 32], metavar="N", help="connections (default: 1 4 32)"
    )
    made.add_argument("--rounds", type=count, default=3, metavar="N", help="of all systems (default: 3)")
    made.add_argument("--block", type=positive, default=1.4, metavar="S", help="seconds of one system (default: 1.4)")
    made.add_argument(
        "--slow",
        nargs="*",
        choices=NAMES,
        default=DIALLING,
        metavar="NAME",
        help=f"over a slow link too (default: {' '.join(DIALLING)})",
    )
    made.add_argument("--slow-rounds", type=count, default=1, metavar="N", help="of idling and upload (default: 1)")
    made.add_argument("--slow-idle", type=positive, default=7.0, metavar="S", help="seconds of idling (default: 7)")
    made.add_argument(
        "--upload", type=count, default=20_000_000, metavar="BYTES", help="over the slow link (default: 20000000)"
    )
    made.add_argument("--seed", type=int, default=1, metavar="N", help="of the order and of the slow link (default: 1)")
    made.add_argument(
        "--smoke",
        action="store_true",
        help="two sizes, short, in the place of the flags above: whether everything works",
    )
    made.add_argument("--out", type=Path, metavar="DIR", help="peers.json, peers.md and peers.svg are written here")
    made.add_argument("--baseline", type=Path, metavar="FILE", help="the ratios alone are written here, for compare.py")
    return made


if __name__ == "__main__":
    sys.exit(start.run(main))
