"""Every scenario by its name."""

from __future__ import annotations

from bench.scenarios import central_queue, idle_gap, ladder, offline, round_trip, scaling, server, streams
from bench.scenarios.scenario import Scenario

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        streams.SINGLE,
        streams.MULTI,
        server.SCENARIO,
        offline.SCENARIO,
        ladder.SCENARIO,
        idle_gap.SCENARIO,
        round_trip.SCENARIO,
        scaling.SCENARIO,
        central_queue.SCENARIO,
    )
}
