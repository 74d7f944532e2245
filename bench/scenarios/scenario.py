"""What a scenario is, and what it finds. Values only."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from bench.flags import Settings, add_request_flags, add_target_flags, natural, target_of
from bench.load.generator import Plan
from bench.measure.summary import LONG_ENOUGH_S, Summary
from bench.scenarios.study import Step, Study


@dataclass(frozen=True)
class Grid:
    """A small table for the terminal, its cells ready to be shown."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Findings:
    """The answer to a scenario's question."""

    values: Summary
    """As it is written; None where too few requests were made."""
    grids: Sequence[Grid]
    notes: Sequence[str] = ()
    """What a reader must know before quoting a number."""
    is_answered: bool = True
    """Whether there is a number at all; if not, the program's status is 1."""


@dataclass(frozen=True)
class Scenario:
    """One question. `measure` makes the runs; `findings` is pure, and takes whatever runs there are."""

    name: str
    question: str
    """In one line, for the list."""
    add_flags: Callable[[argparse.ArgumentParser], None]
    measure: Callable[[Study, argparse.Namespace], Awaitable[None]]
    findings: Callable[[Sequence[Step], argparse.Namespace], Findings]
    shows_runs: bool = field(default=False)
    """Whether the whole table of each run is shown too."""


Measure = Callable[[Study, Settings, argparse.Namespace], Awaitable[None]]


def at_address(measure: Measure) -> Callable[[Study, argparse.Namespace], Awaitable[None]]:
    """For a scenario that measures the address of its flags: a first request sees that all is well."""

    async def probed(study: Study, flags: argparse.Namespace) -> None:
        base = base_of(flags)
        await study.probe(base)
        await measure(study, base, flags)

    return probed


def add_address_flags(
    made: argparse.ArgumentParser, *, timeout_s: float = 10.0, has_warm_up: bool = True
) -> argparse._ArgumentGroup:
    """Those of every scenario that measures an address; gives the group for its own."""
    add_target_flags(made)
    return add_common_flags(made, timeout_s=timeout_s, has_warm_up=has_warm_up)


def add_common_flags(
    made: argparse.ArgumentParser, *, timeout_s: float = 10.0, has_warm_up: bool = True
) -> argparse._ArgumentGroup:
    """Those of every scenario; gives the group for its own."""
    how = made.add_argument_group("how")
    add_request_flags(how, timeout_s)
    how.add_argument("--seed", type=int, default=1, metavar="N", help="of all that is random (default: 1)")
    if has_warm_up:
        how.add_argument(
            "--warm-up", type=natural, default=1, metavar="S", help="seconds of each run that are dropped (default: 1)"
        )
    return made.add_argument_group("the scenario")


def base_of(flags: argparse.Namespace) -> Settings:
    """Settings that lack only a plan of their own. Raises BenchError."""
    target, is_demo = target_of(flags)
    return Settings(
        target=target,
        plan=Plan(None, closed_loops=1, count=0, timeout_ns=round(flags.timeout * 1e9)),
        kind="closed",
        text="",
        rate=None,
        connections=0,
        keep_alive=not flags.no_keep_alive,
        seed=flags.seed,
        is_demo=is_demo,
        name=flags.name,
    )


def notes_of(steps: Sequence[Step]) -> list[str]:
    """What holds of every scenario: short runs, failures, an interruption."""
    if not steps:
        return ["no run was made"]
    found = []
    if any(step.is_interrupted for step in steps):
        found.append("interrupted: the last run was not finished, and others may be missing")
    failed = sum(step.summary["rates"]["failed"] for step in steps)
    if failed:
        of = sum(step.summary["rates"]["intended"] for step in steps)
        found.append(f"{failed} of {of} requests failed; see the runs' summaries for the reasons")
    shortest = min(step.summary["rates"]["window_s"] for step in steps)
    if shortest < LONG_ENOUGH_S:
        found.append(f"short: runs from {shortest:.3g} s; a result to quote takes {LONG_ENOUGH_S:g} s")
    return found


def percentile_of(step: Step, name: str, kind: str = "response_ms") -> float | None:
    """One of a run's percentiles, in ms; None: n too small."""
    found = step.summary[kind]["percentiles"][name]
    return None if found is None else float(found["value"])


def interval_of(step: Step, name: str) -> str:
    """Its distribution-free interval, as text."""
    found = step.summary["response_ms"]["percentiles"][name]
    return "" if found is None else f"{found['low']:.4g} to {found['high']:.4g}"
