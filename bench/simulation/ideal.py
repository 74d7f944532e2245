"""The ideal central queue: one line, every slot takes the next job the instant it is free, the fastest idle one first.

It knows no tunnel but for adding the round trip to each answer, so for equal workers it is what no dispatcher at a
distance can beat. Written without the gateway's code, to be a second opinion on it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from bench.simulation.scenario import Scenario, Stall, Times
from bench.simulation.worker import finish


def ideal_response_s(scenario: Scenario) -> Times:
    """Response time of each of the scenario's jobs, in order of arrival. Workers neither join nor are lost here."""
    assert not scenario.losses, "the ideal queue has no second attempts"
    assert not scenario.joins, "the ideal queue has the fleet it begins with"
    slots = [(spec, worker) for worker, spec in enumerate(scenario.fleet) for _ in range(spec.slots)]
    stalls: list[Sequence[Stall]] = [
        sorted((stall for stall in scenario.stalls if stall.worker == worker), key=lambda stall: stall.at_s)
        for _, worker in slots
    ]
    order = sorted(range(len(slots)), key=lambda slot: (slots[slot][0].service_s + slots[slot][0].rtt_s, slot))
    place = {slot: rank for rank, slot in enumerate(order)}
    idle = list(range(len(slots)))  # ranks: the fastest is the least; a sorted list is a heap
    busy: list[tuple[float, int]] = []
    arrivals, factors = scenario.draw()
    answered = np.empty(scenario.jobs)
    for job, (arrival, factor) in enumerate(zip(arrivals.tolist(), factors.tolist(), strict=True)):
        while busy and busy[0][0] <= arrival:
            heapq.heappush(idle, place[heapq.heappop(busy)[1]])
        if idle:
            start, slot = arrival, order[heapq.heappop(idle)]
        else:
            start, slot = heapq.heappop(busy)
        end = finish(start, factor * slots[slot][0].service_s, stalls[slot])
        heapq.heappush(busy, (end, slot))
        answered[job] = end + slots[slot][0].rtt_s
    return answered - arrivals
