"""Latency against the time since the worker's last request: clocks ramp down, caches cool, connections close.

Requests are sent one by one after gaps of several lengths, in an order shuffled anew each round, so that nothing else
that changes with time looks like an effect of the gap. What counts is not the gap that was intended but how long the
worker that answered had idled, by the answers that were seen: a gateway with several workers gives each longer rests.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence

import numpy as np

from bench.flags import Settings, count, positive
from bench.load.arrivals import NS
from bench.load.sample import Floats, Samples
from bench.measure.percentiles import percentile
from bench.measure.summary import Summary
from bench.scenarios.plans import at_offsets
from bench.scenarios.scenario import Findings, Grid, Scenario, add_address_flags, at_address, notes_of
from bench.scenarios.study import Step, Study

GAPS_S = (0.05, 0.2, 1.0, 3.0, 10.0)
MS = 1e6


def schedule(gaps_s: Sequence[float], rounds: int, seed: int) -> list[int]:
    """Offsets in ns: after a first request, every gap once a round."""
    generator = random.Random(seed)
    offsets = [0]
    for _ in range(rounds):
        for gap_s in generator.sample(list(gaps_s), len(gaps_s)):
            offsets.append(offsets[-1] + round(gap_s * NS))
    return offsets


def idle_s(samples: Samples) -> Floats:
    """For each success, the seconds from the last answer of its worker until it was sent; NaN for a worker's first one,
    and where the worker was busy with another."""
    found = np.full(len(samples), np.nan)
    last_ns: dict[int, int] = {}
    columns = (samples.rows["worker"].tolist(), samples.column("t_send").tolist(), samples.column("t_done").tolist())
    for place, (worker, t_send, t_done) in enumerate(zip(*columns, strict=True)):
        if worker in last_ns and t_send >= last_ns[worker]:
            found[place] = (t_send - last_ns[worker]) / NS
        last_ns[worker] = max(t_done, last_ns.get(worker, 0))
    return found


def by_gap(samples: Samples, gaps_s: Sequence[float]) -> list[Summary]:
    """Response times in ms by how long the worker had idled: each counts for the nearest gap, by ratio."""
    ok = samples.take(samples.is_ok)
    idle, response = idle_s(ok), ok.response_ns / MS
    gaps = np.sort(np.asarray(gaps_s))
    edges = np.sqrt(gaps[:-1] * gaps[1:])
    known = ~np.isnan(idle)
    place = np.searchsorted(edges, idle)
    rows = []
    for number, gap_s in enumerate(gaps.tolist()):
        found = np.sort(response[known & (place == number)])
        median = percentile(found, 0.5)
        rows.append(
            {
                "gap_s": gap_s,
                "n": len(found),
                "median_ms": median and median.value,
                "low_ms": median and median.low,
                "high_ms": median and median.high,
                "max_ms": float(found[-1]) if len(found) else None,
            }
        )
    return rows


def add_flags(made: argparse.ArgumentParser) -> None:
    how = add_address_flags(made, has_warm_up=False)
    how.add_argument(
        "--gaps", nargs="+", type=positive, default=list(GAPS_S), metavar="S", help="(default: 0.05 0.2 1 3 10)"
    )
    how.add_argument("--rounds", type=count, default=8, metavar="N", help="each gap once in each (default: 8)")


async def measure(study: Study, base: Settings, flags: argparse.Namespace) -> None:
    offsets = schedule(flags.gaps, flags.rounds, flags.seed)
    text = f"gaps of {', '.join(f'{gap:g}' for gap in flags.gaps)} s, {flags.rounds} rounds, seed {flags.seed}"
    await study.run("idle-gap", at_offsets(base, offsets, text))


def findings(steps: Sequence[Step], flags: argparse.Namespace) -> Findings:
    """The median by gap, its interval, and its ratio to that after the shortest gap."""
    rows = by_gap(steps[0].run.samples, flags.gaps) if steps else []
    base = rows[0]["median_ms"] if rows else None
    shown = []
    for row in rows:
        median = row["median_ms"]
        row["ratio"] = ratio = median / base if isinstance(median, float) and isinstance(base, float) else None
        values = (median, row["max_ms"])
        interval = "" if median is None else f"{row['low_ms']:.4g} to {row['high_ms']:.4g}"
        texts = ["n too small" if value is None else f"{value:.4g}" for value in values]
        ratio_text = "" if ratio is None else f"{ratio:.2f}"
        shown.append((f"{row['gap_s']:g}", str(row["n"]), texts[0], interval, texts[1], ratio_text))
    columns = ("worker idle, s", "n", "median, ms", "95 % interval", "largest, ms", "ratio")
    notes = [note for note in notes_of(steps) if not note.startswith("short:")]
    if steps:
        notes.append("a gateway probes a worker that idles (probe_idle_s): for longer rests, address the worker itself")
    return Findings({"gaps": rows}, [Grid("latency after idling", columns, shown)], notes, isinstance(base, float))


SCENARIO = Scenario(
    "idle-gap",
    "latency against the time since the worker's last request",
    add_flags,
    at_address(measure),
    findings,
)
