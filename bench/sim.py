"""Simulates dispatch with the gateway's own policy objects: `python bench/sim.py --help`, or `python -m bench.sim`.

    python bench/sim.py run --fleet 2x8ms,4x80ms --load 0.85 --policy least_loaded --policy least_conn
    python bench/sim.py table
    python bench/sim.py large
    python bench/sim.py page        everything that docs/explanation/dispatch-simulation.md shows

It sends nothing anywhere. Exits with 1 when a promise of dispatch was broken.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

if not __package__:  # started as a file: Python then looks for modules beside it, and not in the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench import start

if __name__ == "__main__":
    start.loading()

from rich.console import Console

from bench import terminal
from bench.simulation import page
from bench.simulation.engine import simulate
from bench.simulation.ideal import ideal_response_s
from bench.simulation.outcome import WARM_UP, Outcome, quantile
from bench.simulation.scenario import ARRIVALS, SERVICES, Scenario, WorkerSpec, parse_fleet
from gateway.dispatch.policies import POLICIES

_QUANTILES = (0.5, 0.9, 0.99, 0.999)
FLEET = "2x8ms,4x80ms"
INTERRUPTED = 130
"""Exit status after Ctrl-C, as a shell has it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status; argparse leaves with 2 for a command line that it cannot read."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options) if options.command == "run" else _study(options)
    except KeyboardInterrupt:
        terminal.errors().print("sim: interrupted")
        return INTERRUPTED


def _study(options: argparse.Namespace) -> int:
    if options.command == "page":
        page.write_page(_progress)
        terminal.plain().print(f"wrote {page.PAGE}")
    else:
        terminal.plain().print(page.markdown(page.TABLES[options.command](_progress, options.scale)))
    return 0


def _run(options: argparse.Namespace) -> int:
    console = terminal.plain()
    scenario = Scenario(options.fleet, options.load, options.jobs, options.seed, options.service, options.arrivals)
    console.print(
        f"{len(scenario.fleet)} workers, {scenario.rate_per_s:.1f} jobs/s, {scenario.jobs} jobs, seed {scenario.seed}"
    )
    console.print(f"{'ms':>14}" + "".join(f"{f'p{100 * q:g}':>9}" for q in _QUANTILES))
    ideal = ideal_response_s(scenario)[int(WARM_UP * scenario.jobs) :]
    console.print(f"{'ideal queue':>14}" + "".join(f"{1e3 * quantile(ideal, q):9.1f}" for q in _QUANTILES))
    broken = False
    for policy in options.policy or ["least_loaded"]:
        outcome = simulate(scenario, policy)
        _show(console, outcome)
        broken = broken or bool(outcome.violations)
    return int(broken)


def _show(console: Console, outcome: Outcome) -> None:
    numbers = "".join(f"{outcome.quantile_ms(q):9.1f}" for q in _QUANTILES)
    stable = "" if outcome.is_stable else "  unstable"
    console.print(f"{outcome.policy:>14}{numbers}  {outcome.wall_s:.1f} s{stable}")
    for violation in outcome.violations:
        console.print(f"{'broken':>14} {violation}")


def _progress(what: str) -> None:
    terminal.errors().print(what)


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    """An argument's type: a number of this kind, above 0 and finite."""

    def positive(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = 0
        if not 0 < number < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
        return number

    return positive


def _fleet(text: str) -> tuple[WorkerSpec, ...]:
    """The same with a reason that argparse shows."""
    try:
        return parse_fleet(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python bench/sim.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="one scenario, some policies")
    run.add_argument("--fleet", type=_fleet, default=FLEET, help=f"COUNTxSERVICEms/SLOTS@RTTms, ... (default: {FLEET})")
    run.add_argument(
        "--load", type=_positive(float), default=0.7, metavar="SHARE", help="offered work over capacity (default: 0.7)"
    )
    run.add_argument(
        "--policy", action="append", choices=list(POLICIES), help="may be given several times (default: least_loaded)"
    )
    run.add_argument("--jobs", type=_positive(int), default=60_000, metavar="N", help="default: 60000")
    run.add_argument("--seed", type=int, default=1, metavar="N", help="of all that is random (default: 1)")
    run.add_argument(
        "--service",
        choices=list(SERVICES),
        default="constant",
        help="how service times are distributed (default: constant)",
    )
    run.add_argument("--arrivals", choices=list(ARRIVALS), default="poisson", help="default: poisson")
    commands.add_parser("page", help=f"every study; writes {page.PAGE.name} and its pictures")
    for name in page.TABLES:
        study = commands.add_parser(name, help=f"the study {name!r} of that page")
        study.add_argument("--scale", type=_positive(float), default=1.0, help="share of the jobs to run (default: 1)")
    return parser


if __name__ == "__main__":
    sys.exit(start.run(main))
