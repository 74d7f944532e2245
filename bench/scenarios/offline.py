"""MLPerf LoadGen's Offline: everything is there at once, and only the time until the last answer counts.

All requests are intended at the start and wait for one of a fixed number of connections, as a batch job sends them. So
their response times are their places in that line, and only pictures per second are shown.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bench.flags import Settings, count
from bench.scenarios.plans import at_once
from bench.scenarios.scenario import Findings, Grid, Scenario, add_address_flags, at_address, notes_of
from bench.scenarios.study import Step, Study

NS = 1e9
TIMEOUT_S = 3600.0
"""A picture at the end of the line waits for all the others: it is not to fail for that."""


def add_flags(made: argparse.ArgumentParser) -> None:
    how = add_address_flags(made, timeout_s=TIMEOUT_S, has_warm_up=False)
    how.add_argument("--count", type=count, default=2000, metavar="N", help="pictures (default: 2000)")
    how.add_argument("--connections", type=count, default=64, metavar="N", help="at most (default: 64)")


async def measure(study: Study, base: Settings, flags: argparse.Namespace) -> None:
    await study.run("offline", at_once(base, flags.count, flags.connections))


def findings(steps: Sequence[Step], flags: argparse.Namespace) -> Findings:
    """Answered pictures by the time from the start to the last answer."""
    if not steps:
        return Findings({}, [], notes_of(steps), is_answered=False)
    step = steps[0]
    answered = step.summary["rates"]["succeeded"]
    seconds = (step.run.ended_ns - step.run.started_ns) / NS
    rate = answered / seconds if seconds > 0 else 0.0
    values = {"pictures": answered, "seconds": seconds, "pictures_per_second": rate, "connections": flags.connections}
    rows = [
        ("pictures answered", f"{answered} of {flags.count}"),
        ("seconds", f"{seconds:.3f}"),
        ("pictures per second", f"{rate:.2f}"),
    ]
    notes = [note for note in notes_of(steps) if not note.startswith("short:")]
    if seconds < 600:
        notes.append(f"short: {seconds:.3g} s; a result to quote takes 600 s")
    return Findings(values, [Grid("offline", ("", ""), rows)], notes, answered > 0)


SCENARIO = Scenario(
    "offline",
    "pictures per second when all are there at once (MLPerf Offline)",
    add_flags,
    at_address(measure),
    findings,
)
