"""What another worker brings: 1 to N workers on this machine, the throughput of each number, and its p99 at one load.

For each number two runs: a closed loop with several requests per worker, which never lets one idle and gives the
throughput; and an open loop at a share of that throughput, which gives the p99. Efficiency is the throughput by n times
that of one worker. Workers sleep through their service time unless another backend is named, so that with more workers
than cores it is still the gateway that is measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bench.flags import count, positive
from bench.scenarios.hosts import at_stack, local_stack
from bench.scenarios.plans import closed, poisson
from bench.scenarios.scenario import Findings, Grid, Scenario, add_common_flags, notes_of, percentile_of
from bench.scenarios.study import Step, Study

LOOPS_A_WORKER = 4
"""Requests under way for each worker: one runs, one waits beside it, and the rest are on their way."""
FULL, PART = "full", "part"


def add_flags(made: argparse.ArgumentParser) -> None:
    how = add_common_flags(made)
    how.add_argument("--workers", type=count, default=4, metavar="N", help="at most (default: 4)")
    how.add_argument("--backend", default="echo", help="of every worker (default: echo)")
    how.add_argument("--service-time", default="20ms", metavar="TIME", help="of echo (default: 20ms)")
    how.add_argument("--model", default="", help="(default: echo's, else digits)")
    how.add_argument("--load", type=positive, default=0.7, help="share of the throughput, for p99 (default: 0.7)")
    how.add_argument("--duration", type=positive, default=10.0, metavar="S", help="of each run (default: 10)")


async def measure(study: Study, flags: argparse.Namespace) -> None:
    """Adds one worker after the other to one gateway."""
    is_echo = flags.backend == "echo"
    model = flags.model or ("echo" if is_echo else "digits")
    options = ["--echo-model", model, "--echo-service-time", flags.service_time] if is_echo else []
    with local_stack() as stack:
        base = at_stack(stack, model, flags)
        for workers in range(1, flags.workers + 1):
            stack.start_worker(f"worker-{workers}", "--backend", flags.backend, *options)
            stack.wait_ready(model, workers)
            duration = {"duration_s": flags.duration, "warm_up_s": flags.warm_up}
            full = await study.run(f"{workers:02}-full", closed(base, LOOPS_A_WORKER * workers, **duration), role=FULL)
            rate = flags.load * full.summary["rates"]["achieved"]
            if rate > 0:
                part = poisson(base, rate, flags.seed + workers, **duration)
                await study.run(f"{workers:02}-part", part, role=PART)


def findings(steps: Sequence[Step], flags: argparse.Namespace) -> Findings:
    """One row for each number of workers; steps come in pairs of one number."""
    full = [step for step in steps if step.role == FULL]
    part = [step for step in steps if step.role == PART]
    alone = full[0].summary["rates"]["achieved"] if full else 0.0
    rows = []
    for place, step in enumerate(full):
        throughput = step.summary["rates"]["achieved"]
        at_load = part[place] if place < len(part) else None
        rows.append(
            {
                "workers": place + 1,
                "per_second": throughput,
                "efficiency": throughput / ((place + 1) * alone) if alone else None,
                "p99_rate": at_load and at_load.summary["run"]["rate"],
                "p99_ms": at_load and percentile_of(at_load, "p99"),
            }
        )
    shown = [
        (
            str(row["workers"]),
            f"{row['per_second']:.2f}",
            "" if row["efficiency"] is None else f"{row['efficiency']:.3f}",
            "" if row["p99_rate"] is None else f"{row['p99_rate']:.2f}",
            "n too small" if row["p99_ms"] is None else f"{row['p99_ms']:.4g}",
        )
        for row in rows
    ]
    columns = ("workers", "requests /s", "efficiency", "open loop at /s", "p99, ms")
    notes = notes_of(steps)
    return Findings({"load": flags.load, "rows": rows}, [Grid("scaling", columns, shown)], notes, alone > 0)


SCENARIO = Scenario(
    "scaling",
    "throughput, p99 and efficiency of 1 to N workers, which it starts itself",
    add_flags,
    measure,
    findings,
)
