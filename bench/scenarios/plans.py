"""Settings of one run from those that a scenario's runs share: which requests, when, how many are dropped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from bench.flags import Settings
from bench.load import arrivals
from bench.load.arrivals import NS, Arrivals, WarmUp
from bench.load.generator import Plan


def poisson(
    base: Settings, rate: float, seed: int, *, duration_s: float | None = None, count: int | None = None, warm_up_s: int
) -> Settings:
    """An open loop. A count is that of the requests after the warm-up."""
    schedule = Arrivals(
        "poisson",
        f"Poisson, {rate:.4g}/s, seed {seed}",
        partial(arrivals.poisson, rate, seed),
        round(NS / rate),
    )
    if count is not None:
        warm_up = WarmUp(count=math.ceil(warm_up_s * rate))
        plan = Plan(schedule, count=count + warm_up.count, warm_up=warm_up, timeout_ns=base.plan.timeout_ns)
    else:
        assert duration_s is not None, "a run has an end"
        plan = _for_s(schedule, 0, duration_s, warm_up_s, base)
    return replace(base, plan=plan, kind="poisson", text=schedule.text, rate=rate, seed=seed)


def closed(base: Settings, loops: int, *, duration_s: float, warm_up_s: int) -> Settings:
    """Each of the loops sends its next request when the last one is answered."""
    plan = _for_s(None, loops, duration_s, warm_up_s, base)
    return replace(base, plan=plan, kind="closed", text=f"closed loop of {loops}", rate=None, connections=loops)


def at_once(base: Settings, count: int, connections: int) -> Settings:
    """All are intended at the start, and wait for one of the connections."""
    schedule = at_offsets(base, [0] * count, f"{count} at once")
    return replace(schedule, kind="burst", connections=connections, plan=replace(schedule.plan, max_in_flight=count))


def at_offsets(base: Settings, offsets_ns: Sequence[int], text: str) -> Settings:
    """At these times, ascending, in ns from the start; nothing is dropped."""
    gap_ns = (offsets_ns[-1] - offsets_ns[0]) // max(1, len(offsets_ns) - 1)
    schedule = Arrivals("trace", text, lambda: iter(offsets_ns), gap_ns)
    plan = Plan(schedule, count=len(offsets_ns), timeout_ns=base.plan.timeout_ns)
    return replace(base, plan=plan, kind="trace", text=text, rate=None)


def _for_s(schedule: Arrivals | None, loops: int, duration_s: float, warm_up_s: int, base: Settings) -> Plan:
    return Plan(
        arrivals=schedule,
        closed_loops=loops,
        duration_ns=round((duration_s + warm_up_s) * NS),
        warm_up=WarmUp(warm_up_s * NS),
        timeout_ns=base.plan.timeout_ns,
    )
