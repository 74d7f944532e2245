"""MLPerf LoadGen's Server: the highest Poisson rate at which 99 % of requests stay under a bound.

A failure counts as over the bound. A rate passes when the claim holds with 99 % confidence
(bench/measure/early_stopping.py); the number of queries is fixed before, so that nobody looks until it happens to hold.
A run ends early only when too many are over already, which the rest cannot mend. The best of several lucky runs is too
good, so the rate found is run once more, with other arrivals, and lowered until it passes.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.flags import Settings, count, positive
from bench.load.sample import Sample
from bench.measure.early_stopping import allowed_over, queries_needed
from bench.scenarios.plans import poisson
from bench.scenarios.scenario import Findings, Grid, Scenario, add_address_flags, at_address, notes_of, percentile_of
from bench.scenarios.study import Step, Study

MS = 1e6
SEARCH, CONFIRM = "search", "confirm"
MOST_RUNS = 30
"""Of a search: twenty doublings cover five decades, and five halvings of a factor of two come within 2.2 %."""
MOST_CONFIRMATIONS = 5


class Search:
    """Doubles, or halves, until one rate passed and a higher one failed; then tries the middle until they are close."""

    def __init__(self, start: float, tolerance: float) -> None:
        """Ends when the lowest that failed is at most 1 + `tolerance` times the highest that passed."""
        self._next: float | None = start
        self._tolerance = tolerance
        self._left = MOST_RUNS
        self.best: float | None = None
        """The highest rate that passed."""
        self.worst: float | None = None
        """The lowest one that failed."""

    @property
    def next_rate(self) -> float | None:
        """What to try; None: nothing more."""
        return self._next

    def tell(self, passed: bool) -> None:
        """How `next_rate` went."""
        assert self._next is not None, "the search is over"
        self._left -= 1
        if passed:
            self.best = self._next
        else:
            self.worst = self._next
        self._next = self._choose() if self._left else None

    def _choose(self) -> float | None:
        if self.worst is None:
            return 2 * self.best if self.best else None
        if self.best is None:
            return self.worst / 2
        if self.worst <= self.best * (1 + self._tolerance):
            return None
        return math.sqrt(self.best * self.worst)


@dataclass(frozen=True)
class Verdict:
    """On one rate."""

    rate: float
    queries: int
    over: int
    """Answered after the bound, or not at all."""
    allowed: int
    """The most that may be over, of the queries that were planned."""

    @property
    def passed(self) -> bool:
        return self.over <= self.allowed


def verdict(step: Step, bound_ms: float, queries: int) -> Verdict:
    """`queries`: as planned. A run that ended early failed, since it ended for that."""
    measured = step.run.samples.measured()
    over = int((~measured.is_ok | (measured.response_ns > bound_ms * MS)).sum())
    allowed = allowed_over(queries)
    assert allowed is not None, "the flags ask for enough queries"
    return Verdict(step.summary["run"]["rate"], len(measured), over, allowed)


def too_many_over(bound_ms: float, queries: int) -> Callable[[Sample], bool]:
    """Sees each sample, and says when no further one can make the rate pass."""
    allowed, over = allowed_over(queries), 0
    assert allowed is not None, "the flags ask for enough queries"

    def is_decided(sample: Sample) -> bool:
        nonlocal over
        if not sample.is_warmup and (sample.reason or sample.t_done_ns - sample.t_int_ns > bound_ms * MS):
            over += 1
        return over > allowed

    return is_decided


def add_flags(made: argparse.ArgumentParser) -> None:
    how = add_address_flags(made)
    how.add_argument("--bound", type=positive, default=100.0, metavar="MS", help="of p99 (default: 100)")
    how.add_argument("--rate", type=positive, default=20.0, help="the first one tried (default: 20)")
    how.add_argument(
        "--queries",
        type=_enough,
        default=2010,
        metavar="N",
        help="of each run: 459 allow none over the bound, 662 one, 838 two, 1307 five, 2010 ten (default: 2010)",
    )
    how.add_argument(
        "--tolerance",
        type=positive,
        default=0.05,
        help="between a rate that passed and one that failed (default: 0.05)",
    )


def _enough(text: str) -> int:
    number, least = count(text), queries_needed(0)
    if number < least:
        raise argparse.ArgumentTypeError(f"{text}: with fewer than {least} queries no claim about p99 holds")
    return number


async def measure(study: Study, base: Settings, flags: argparse.Namespace) -> None:
    """Searches, then confirms."""
    seeds = itertools.count(flags.seed)

    async def passes(rate: float, role: str) -> bool:
        settings = poisson(base, rate, next(seeds), count=flags.queries, warm_up_s=flags.warm_up)
        step = await study.run(
            f"{role}-{rate:.4g}", settings, role=role, is_decided=too_many_over(flags.bound, flags.queries)
        )
        return verdict(step, flags.bound, flags.queries).passed

    search = Search(flags.rate, flags.tolerance)
    while search.next_rate is not None:
        search.tell(await passes(search.next_rate, SEARCH))
    rate = search.best
    for _ in range(MOST_CONFIRMATIONS):
        if rate is None or await passes(rate, CONFIRM):
            return
        rate /= 1 + flags.tolerance


def findings(steps: Sequence[Step], flags: argparse.Namespace) -> Findings:
    """The confirmed rate, and every rate that was tried."""
    judged = [(step, verdict(step, flags.bound, flags.queries)) for step in steps if not step.is_interrupted]
    confirmed = [one.rate for step, one in judged if step.role == CONFIRM and one.passed]
    rate = confirmed[-1] if confirmed else None
    rows = [
        (
            f"{one.rate:.4g}",
            step.role,
            "passed" if one.passed else "failed",
            f"{one.over} of {one.queries}",
            "n too small" if (p99 := percentile_of(step, "p99")) is None else f"{p99:.4g}",
        )
        for step, one in judged
    ]
    rule = f"p99 under {flags.bound:g} ms: {flags.queries} queries, at most {allowed_over(flags.queries)} over"
    grids = [Grid(rule, ("rate", "", "", "over", "p99, ms"), rows)]
    values = {
        "bound_ms": flags.bound,
        "queries": flags.queries,
        "allowed_over": allowed_over(flags.queries),
        "rate": rate,
        "runs": [
            {"rate": one.rate, "role": step.role, "passed": one.passed, "queries": one.queries, "over": one.over}
            for step, one in judged
        ],
    }
    answer = Grid("", ("", ""), [("highest rate", f"{rate:.4g}/s" if rate else "none was confirmed")])
    notes = [note for note in notes_of(steps) if "failed; see" not in note]  # over the bound by rule, and counted above
    return Findings(values, [*grids, answer], notes, rate is not None)


SCENARIO = Scenario(
    "server",
    "the highest Poisson rate whose p99 stays under a bound (MLPerf Server)",
    add_flags,
    at_address(measure),
    findings,
)
