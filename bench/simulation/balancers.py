"""Several balancers before the same servers, each of which knows only the requests that it sent itself.

That is what nginx's processes are without a shared `zone`: each has its own count for least_conn. Requests come to one
of them by chance, and a server queues what it is sent. Written without the gateway's code: nothing of it is at work.
"""

from __future__ import annotations

import heapq

import numpy as np

from bench.simulation.ideal import ideal_response_s
from bench.simulation.outcome import WARM_UP, quantile
from bench.simulation.scenario import Scenario, Times, WorkerSpec
from bench.simulation.studies import JOBS, Progress

BALANCERS = (1, 2, 4, 8, 16, 64)
SERVICES = ("constant", "exponential", "lognormal")
LOAD = 0.8


def least_conn_response_s(scenario: Scenario, balancers: int) -> Times:
    """Response time of each of the scenario's jobs. Servers have one slot, and no round trip; ties go round, as
    nginx's do."""
    rng = np.random.default_rng([scenario.seed, balancers])
    chosen = rng.integers(balancers, size=scenario.jobs).tolist()
    servers = len(scenario.fleet)
    open_jobs, turn = [[0] * servers for _ in range(balancers)], [0] * balancers
    free_at = [0.0] * servers
    ends: list[tuple[float, int, int]] = []
    arrivals, factors = scenario.draw()
    answered = np.empty(scenario.jobs)
    for job, (arrival, factor) in enumerate(zip(arrivals.tolist(), factors.tolist(), strict=True)):
        while ends and ends[0][0] <= arrival:
            _, balancer, server = heapq.heappop(ends)
            open_jobs[balancer][server] -= 1
        balancer = chosen[job]
        known = open_jobs[balancer]
        server = min(range(servers), key=lambda one: (known[one], (one - turn[balancer]) % servers))
        turn[balancer] = (server + 1) % servers
        end = max(arrival, free_at[server]) + factor * scenario.fleet[server].service_s
        free_at[server] = answered[job] = end
        known[server] += 1
        heapq.heappush(ends, (end, balancer, server))
    return answered - arrivals


def table(progress: Progress, scale: float = 1.0) -> list[list[str]]:
    """p99 of four servers of 20 ms at load 0.8 over the ideal queue's, by how many balancers and how times differ."""
    rows = [["balancers", *SERVICES]]
    conditions = [Scenario((WorkerSpec(0.020),) * 4, LOAD, int(JOBS * scale), service=one) for one in SERVICES]
    first = int(WARM_UP * conditions[0].jobs)
    ideal = [quantile(ideal_response_s(scenario)[first:], 0.99) for scenario in conditions]
    for balancers in BALANCERS:
        progress(f"{balancers} balancers")
        row = [str(balancers)]
        for scenario, least in zip(conditions, ideal, strict=True):
            row.append(f"{quantile(least_conn_response_s(scenario, balancers)[first:], 0.99) / least:.2f}")
        rows.append(row)
    return rows
