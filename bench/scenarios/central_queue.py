"""How close dispatch comes to the ideal central queue, and to nginx's least_conn, in one run.

Echo workers that sleep behind the gateway, against arithmetic: one line from which each free worker takes the next job
at once, for the very times at which requests were intended and, where these differ, that they took. And against nginx
before as many servers that work one at a time. Arms alternate within a round; each round has arrivals of its own, the
same for the arms of one load. Everything is on one machine, so its cores must not be what is short.
"""

from __future__ import annotations

import argparse
import heapq
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bench.flags import count, positive
from bench.load.sample import Floats, Ints, Samples
from bench.measure.percentiles import nearest_rank
from bench.measure.summary import Summary
from bench.peers.nginx import nginx_over_servers, servers_one_at_a_time
from bench.scenarios.hosts import at_stack, at_url, local_stack
from bench.scenarios.plans import poisson
from bench.scenarios.scenario import Findings, Grid, Scenario, add_common_flags, notes_of
from bench.scenarios.study import Step, Study

MS = 1e6
LOW, HIGH = 0.7, 0.8
"""Loads: the first is compared with the ideal queue, the second with nginx too."""
BOUND_IDEAL, BOUND_NGINX = 1.15, 0.5
"""What is aimed at: p99 by the ideal queue's at the first load, and by nginx's at the second."""
GATEWAY_LOW, GATEWAY, NGINX = "gateway-0.7", "gateway-0.8", "nginx-0.8"
MODEL = "echo"
SERVICES = {
    "constant": lambda mean_ms: f"{mean_ms:g}ms",
    "exponential": lambda mean_ms: f"exponential:{mean_ms:g}ms",
    "lognormal": lambda mean_ms: f"lognormal:{mean_ms * math.exp(-0.5):.6f}ms,1",
}
"""How long requests take, by name: as --echo-service-time has it, of a given mean. The lognormal's sigma is 1."""
WORK = "inference"
"""The stage in which a worker says how long it slept."""
SEEDS_A_ROUND = 2


def ideal_ms(t_int_ns: Ints, service_ms: Floats | float, servers: int) -> Floats:
    """Response times in an ideal central queue: first come, first served by the server that is free first."""
    free = [0.0] * servers
    arrivals = (t_int_ns - t_int_ns[:1].min(initial=0)) / MS
    found = np.empty(len(arrivals))
    for place, (arrival, service) in enumerate(zip(arrivals, np.broadcast_to(service_ms, len(arrivals)), strict=True)):
        end = max(arrival, heapq.heappop(free)) + service
        heapq.heappush(free, end)
        found[place] = end - arrival
    return found


def add_flags(made: argparse.ArgumentParser) -> None:
    how = add_common_flags(made)
    how.add_argument("--workers", type=count, default=4, metavar="N", help="and as many servers (default: 4)")
    how.add_argument("--service-ms", type=positive, default=20.0, metavar="MS", help="mean of a request (default: 20)")
    how.add_argument("--service", choices=SERVICES, default="constant", help="how times differ (default: constant)")
    how.add_argument("--rounds", type=count, default=3, metavar="N", help="of all arms (default: 3)")
    how.add_argument("--duration", type=positive, default=60.0, metavar="S", help="of each run (default: 60)")
    how.add_argument("--nginx", default="nginx", metavar="PROGRAM", help="(default: nginx)")
    how.add_argument(
        "--nginx-processes",
        default="auto",
        metavar="N",
        help="its worker_processes; each counts connections for itself (default: auto, one a core, as Debian has it)",
    )
    how.add_argument("--nginx-zone", action="store_true", help="its processes count together, in shared memory")
    how.add_argument("--nginx-reuseport", action="store_true", help="the kernel spreads connections over its processes")


async def measure(study: Study, flags: argparse.Namespace) -> None:
    """Every round: the gateway at the lower load, then the gateway and nginx at the higher one."""
    capacity = flags.workers / flags.service_ms * 1e3
    service = SERVICES[flags.service](flags.service_ms)
    with local_stack() as stack, servers_one_at_a_time(flags.workers, service, flags.seed) as servers:
        for place in range(flags.workers):
            options = ("--backend", "echo", "--echo-model", MODEL, "--echo-service-time", service)
            stack.start_worker(f"worker-{place + 1}", *options, "--seed", str(flags.seed + place))
        stack.wait_ready(MODEL, flags.workers)
        files = stack.credentials
        gateway = at_stack(stack, MODEL, flags)
        with nginx_over_servers(
            flags.nginx,
            servers,
            processes=flags.nginx_processes,
            has_zone=flags.nginx_zone,
            has_reuseport=flags.nginx_reuseport,
            certificate=files.certificate,
            private_key=files.private_key,
        ) as peer:
            nginx = replace(at_url(peer.url, files.ca, "", flags), name=peer.version)
            for number in range(flags.rounds):
                for role, base, load in ((GATEWAY_LOW, gateway, LOW), (GATEWAY, gateway, HIGH), (NGINX, nginx, HIGH)):
                    seed = flags.seed + SEEDS_A_ROUND * number + (load == HIGH)
                    settings = poisson(base, load * capacity, seed, duration_s=flags.duration, warm_up_s=flags.warm_up)
                    await study.run(f"{number + 1:02}-{role}", settings, role=role)


def findings(steps: Sequence[Step], flags: argparse.Namespace) -> Findings:
    """p99 of each arm over all rounds, of the ideal queue for the same arrivals, and the two ratios."""
    arms = {role: [step for step in steps if step.role == role] for role in (GATEWAY_LOW, GATEWAY, NGINX)}
    rows = [_arm(role, arm, flags) for role, arm in arms.items() if arm]
    p99 = {row["arm"]: row for row in rows}
    to_ideal = p99[GATEWAY_LOW]["to_ideal"] if GATEWAY_LOW in p99 else None
    has_both = GATEWAY in p99 and NGINX in p99 and p99[NGINX]["p99_ms"]
    # where times are drawn each arm has had its own: only what it made of them can be compared
    to_nginx = p99[GATEWAY]["to_ideal"] / p99[NGINX]["to_ideal"] if has_both else None
    least = p99[NGINX]["ideal_p99_ms"] / p99[NGINX]["p99_ms"] if has_both else None
    values = {
        "workers": flags.workers,
        "service_ms": flags.service_ms,
        "service": flags.service,
        "nginx_processes": flags.nginx_processes,
        "nginx_zone": flags.nginx_zone,
        "nginx_reuseport": flags.nginx_reuseport,
        "arms": rows,
        "to_ideal": to_ideal,
        "to_ideal_bound": BOUND_IDEAL,
        "to_nginx": to_nginx,
        "to_nginx_bound": BOUND_NGINX,
        "ideal_to_nginx": least,
    }
    shown = [
        (
            str(row["arm"]),
            str(row["n"]),
            *(f"{row[key]:.2f}" for key in ("p50_ms", "p99_ms", "ideal_p99_ms")),
            f"{row['to_ideal']:.3f}",
            f"{min(row['rounds']):.2f}-{max(row['rounds']):.2f}",
        )
        for row in rows
    ]
    columns = ("arm", "n", "p50, ms", "p99, ms", "ideal p99", "ratio", "by round")
    notes = notes_of(steps)
    if least is not None and least > BOUND_NGINX:
        notes.append(f"the ideal queue itself is {least:.3f} of nginx here: no dispatcher could have come below that")
    ratios = [
        _ratio(f"gateway to the ideal queue, load {LOW:g}", to_ideal, BOUND_IDEAL),
        _ratio(f"gateway to nginx, load {HIGH:g}", to_nginx, BOUND_NGINX),
    ]
    said = [(str(row["arm"]), f"{row['slept_mean_ms']:.3f}", f"{row['to_ideal_as_slept']:.3f}") for row in rows]
    slept = Grid("how long workers and servers slept", ("arm", "mean, ms", "ratio to an ideal queue of that"), said)
    grids = [Grid("central queue", columns, shown), slept, Grid("ratios of p99", ("", "ratio", "aimed at", ""), ratios)]
    return Findings(values, grids, notes, to_ideal is not None and to_nginx is not None)


def _arm(role: str, steps: Sequence[Step], flags: argparse.Namespace) -> Summary:
    """Failures count as their time-outs, so that no arm gains by failing."""
    measured, ideal, as_slept, slept = [], [], [], []
    for step in steps:
        samples = step.run.samples
        kept = ~np.asarray(samples.rows["warmup"])
        measured.append(samples.response_ns[kept] / MS)
        slept.append(_slept_ms(samples, flags.service_ms))
        asked = flags.service_ms if flags.service == "constant" else slept[-1]
        ideal.append(ideal_ms(samples.column("t_int"), asked, flags.workers)[kept])
        as_slept.append(ideal_ms(samples.column("t_int"), slept[-1], flags.workers)[kept])
    all_measured, all_ideal = np.concatenate(measured), np.concatenate(ideal)
    return {
        "arm": role,
        "n": len(all_measured),
        "p50_ms": _quantile(all_measured, 0.5),
        "p99_ms": _quantile(all_measured, 0.99),
        "ideal_p99_ms": _quantile(all_ideal, 0.99),
        "to_ideal": _quantile(all_measured, 0.99) / _quantile(all_ideal, 0.99),
        "slept_mean_ms": float(np.concatenate(slept).mean()),
        "to_ideal_as_slept": _quantile(all_measured, 0.99) / _quantile(np.concatenate(as_slept), 0.99),
        "rounds": [
            _quantile(one, 0.99) / _quantile(best, 0.99) for one, best in zip(measured, ideal, strict=True) if len(one)
        ],
    }


def _slept_ms(samples: Samples, service_ms: float) -> Floats:
    """What each request's worker or server says of its work; the mean where nobody says it, as in a failure."""
    if WORK not in samples.stage_names:
        return np.full(len(samples), service_ms)
    said = samples.stage_ms(WORK)
    return np.where(np.isnan(said), service_ms, said)


def _quantile(values: Floats, q: float) -> float:
    return float(np.sort(values)[nearest_rank(len(values), q) - 1]) if len(values) else float("nan")


def _ratio(text: str, value: float | None, bound: float) -> tuple[str, str, str, str]:
    if value is None:
        return text, "not measured", f"{bound:g}", ""
    return text, f"{value:.3f}", f"{bound:g}", "met" if value <= bound else "missed"


SCENARIO = Scenario(
    "central-queue",
    "p99 through the gateway against the ideal central queue and nginx's least_conn; starts all of them",
    add_flags,
    measure,
    findings,
)
