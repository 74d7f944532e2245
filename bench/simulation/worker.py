"""A worker that is arithmetic: slots, a first-come queue before them, stalls. It is the Link that the core is given.

Jobs reach a worker in the order in which they were sent (one tunnel, one round trip), so when a job is sent it is known
when it will start and end. Work that was cancelled is done all the same, as by a backend that cannot be interrupted.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from bench.simulation.scenario import Stall, WorkerSpec
from gateway.dispatch.model import Job, ModelOffer, Reply
from gateway.dispatch.queue import Ticket

MODEL = "m"


class SimWorker:
    """`gateway.dispatch.model.Link`, of which the core reads the name and the round trip and calls nothing."""

    def __init__(self, name: str, spec: WorkerSpec, stalls: Sequence[Stall] = ()) -> None:
        self.worker = name
        self.rtt_s = spec.rtt_s
        self.about: Mapping[str, object] = {}
        self.service_s = spec.service_s
        self.offer = ModelOffer(MODEL, "1", spec.announced_slots or spec.slots)
        self.is_alive = True
        self.is_known_dead = False
        """The gateway was told; nothing may be sent here any more."""
        self.held: dict[Ticket, None] = {}
        """Sent here and not yet given back, in order."""
        self.busy_s = 0.0
        self._free_at = [-math.inf] * spec.slots
        self._stalls = sorted(stalls, key=lambda stall: stall.at_s)

    def work(self, sent_at: float, factor: float) -> tuple[float, float]:
        """Takes one job in; returns when its answer is back at the gateway, and the seconds that it measures."""
        way_s = self.rtt_s / 2
        start = max(self._free_at[0], sent_at + way_s)
        end = finish(start, factor * self.service_s, self._stalls)
        heapq.heapreplace(self._free_at, end)
        self.busy_s += end - start
        return end + way_s, end - start

    # Called by a waiting shell and never by the core.

    def exchange(self, job: Job) -> AbstractAsyncContextManager[Reply]:
        raise AssertionError("a simulation has no exchanges")

    async def probe(self, model: str, timeout_s: float) -> float:
        raise AssertionError("a simulation answers probes by an event")

    def close(self, reason: str) -> None:
        raise AssertionError("no simulated worker is superseded")


def finish(start: float, work_s: float, stalls: Sequence[Stall]) -> float:
    """When work that begins at `start` ends; no work is done during stalls, which are in order and apart."""
    end = start + work_s
    for stall in stalls:
        if stall.at_s < end and start < stall.at_s + stall.lasts_s:
            end += stall.at_s + stall.lasts_s - max(start, stall.at_s)
    return end
