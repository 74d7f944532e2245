"""From results to a comparison: which sides there are, what is compared, and what a reader must be warned of.

An interleaved run is one result with two labels; two results are two runs one after the other, which is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from bench.errors import BenchError
from bench.load.sample import Ints, Samples
from bench.measure.compare import FIRST, NONE, Side, compare, side_of
from bench.measure.summary import Summary
from bench.report.figures import Arm
from bench.report.files import Result

SCHEMA = 1
NOT_INTERLEAVED = (
    "the two were not interleaved: what changed between the runs (load, temperature, network) looks like a difference "
    "of the systems. Measure both in one run with: python bench/test.py --ab URL_A URL_B"
)
SAME_RUN = ("arrivals", "kind", "rate", "connections", "keep_alive", "timeout_s", "pictures", "picture_bytes_mean")
SAME_MACHINE = ("cpu", "usable_cores", "governor", "python", "libraries")
"""What two results should have in common."""


@dataclass(frozen=True)
class Compared:
    """One side with all that pages and tables show of it."""

    name: str
    url: str
    arm: Arm
    measures: Summary
    """As `measures_of` makes them."""
    side: Side
    summary: Summary
    """Of the run that it was part of."""


def sides_of(results: Sequence[Result]) -> tuple[Compared, Compared]:
    """Of one interleaved result or of two plain ones. Raises BenchError."""
    if len(results) == 1:
        samples, summary = results[0].samples, results[0].summary
        if "arms" not in summary:
            raise BenchError(f"{results[0].directory} is of one system: name a second result")
        return arms_of(samples, summary)
    for result in results:
        if "arms" in result.summary:
            raise BenchError(f"{result.directory} has two systems already: compare it by itself")
    first, second = (_of_result(result, name) for result, name in zip(results, _names(results), strict=True))
    return first, second


def _names(results: Sequence[Result]) -> list[str]:
    """Given, or of the directories, or A and B where these do not tell them apart."""
    names = [result.summary["run"]["name"] or result.directory.resolve().name for result in results]
    return names if len(set(names)) == len(names) else ["A", "B"]


def _of_result(result: Result, name: str) -> Compared:
    summary, measured = result.summary, result.samples.measured()
    run = summary["run"]
    side = side_of(measured, measured.column("index"), closed_loops=closed_loops(run))
    arm = Arm(name, result.samples, run["started_ns"], run["timeout_s"])
    return Compared(name, run["url"], arm, summary, side, summary)


def arms_of(samples: Samples, summary: Summary) -> tuple[Compared, Compared]:
    """Of an interleaved run."""
    run, found = summary["run"], []
    if len(summary["arms"]) < 2:
        raise BenchError("the run ended before both systems were sent anything")
    # one schedule: what one of them was offered more, it owes to where the window was cut
    offered = sum(one["rates"]["offered"] for one in summary["arms"]) / 2
    for described in summary["arms"]:
        name = described["name"]
        own, place = only(samples, name, run["block"])
        measured = own.measured()
        side = side_of(
            measured,
            place[len(own) - len(measured) :],
            offered=offered,
            closed_loops=closed_loops(run),
        )
        arm = Arm(name, own, run["started_ns"], run["timeout_s"])
        found.append(Compared(name, described["url"], arm, described, side, summary))
    first, second = found
    return first, second


def only(samples: Samples, label: str, block: int) -> tuple[Samples, Ints]:
    """One arm's samples with indices of their own, so that neighbours in the arm follow each other; and the position of
    each in its pair of blocks, by which the other arm's partner is found."""
    own = samples.of_label(label)
    index = own.column("index")
    place = index // (2 * block) * block + index % block
    rows = own.rows.copy()
    rows["index"] = place
    return Samples(rows, own.reasons, own.workers, own.labels, own.stage_names), place


def closed_loops(run: Summary) -> int:
    """0 for an open loop."""
    return max(1, int(run["connections"])) if run["kind"] == "closed" else 0


def comparison(first: Compared, second: Compared, seed: int | None = None) -> Summary:
    """The object that `--json` prints. `seed`: of the bootstrap; None: that of the first run, so that a result says the
    same each time."""
    seed = first.summary["run"]["seed"] if seed is None else seed
    is_interleaved = first.summary is second.summary
    ratios, failed = compare(first.side, second.side, is_interleaved=is_interleaved, seed=seed)
    return {
        "schema": SCHEMA,
        "names": [first.name, second.name],
        "urls": [first.url, second.url],
        "is_interleaved": is_interleaved,
        "seed": seed,
        "ratios": [asdict(one) for one in ratios],
        "failed": asdict(failed),
        "warnings": warnings(first, second, is_interleaved=is_interleaved),
    }


def warnings(first: Compared, second: Compared, *, is_interleaved: bool) -> list[str]:
    """What must be known before a verdict is quoted."""
    found = [] if is_interleaved else [NOT_INTERLEAVED, *_differences(first.summary, second.summary)]
    runs = [first] if is_interleaved else [first, second]
    for one in runs:
        prefix = "" if is_interleaved else f"{one.name}: "
        found += [prefix + verdict for verdict in one.summary["verdicts"]]
    for one in (first, second):
        if one.measures["rates"]["failed"]:
            share = np.mean(~one.side.is_ok)
            found.append(f"{one.name}: {share:.2%} failed, and latencies are of the successes alone")
    return found


def _differences(one: Summary, two: Summary) -> list[str]:
    pairs = [(key, one["run"][key], two["run"][key]) for key in SAME_RUN]
    pairs += [(key, one["environment"].get(key), two["environment"].get(key)) for key in SAME_MACHINE]
    return [f"they differ in {key.replace('_', ' ')}: {a} and {b}" for key, a, b in pairs if a != b]


def regressions(found: Summary, tolerance: float) -> list[str]:
    """Measures in which the second is worse than the first by more than `tolerance` (0.05 is 5 %), the whole interval
    beyond it; for failures, percentage points."""
    worse = []
    for row in found["ratios"]:
        if row["verdict"] == FIRST:
            is_larger = row["low"] > 1
            nearest = row["low"] - 1 if is_larger else 1 / row["high"] - 1 if row["high"] > 0 else float("inf")
            if nearest > tolerance:
                worse.append(row["measure"])
    if found["failed"]["verdict"] == FIRST and found["failed"]["low"] > tolerance:
        worse.append("failed")
    return worse


def verdict_text(row: Summary, names: Sequence[str]) -> str:
    """In words."""
    if row.get("ratio") is None and "ratio" in row:
        return f"n too small: needs {row['needs']} successes of each"
    if row["verdict"] == NONE:
        return "no difference shown"
    return f"{names[0] if row['verdict'] == FIRST else names[1]} is better"
