"""What a study of one gateway's size leaves: tables with the bars beside, and fleet.json with every number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from bench.fleet.cost import Cost, Memory
from bench.fleet.decision import Decision
from bench.peers.table import Grid

SCHEMA, FILE = "bench.fleet 1", "fleet.json"
KIB, MIB = 1 << 10, 1 << 20

BAR_TUNNELS = 5000
"""The size of fleet that the bars speak of."""
MOST_TUNNEL_BYTES = 48 * KIB
MOST_IDLE_SHARE = 0.25
MOST_RETURN_S = 30.0
DECISION_WORKERS, MOST_DECISION_US = 1000, 50.0


@dataclass(frozen=True)
class Joined:
    """So many tunnels, `more` of them new."""

    tunnels: int
    more: int
    took_s: float
    cost: Cost
    """Until the last of them was ready."""
    memory: Memory
    """When they had settled."""


@dataclass(frozen=True)
class Returned:
    """The gateway was killed and came back."""

    down_s: float
    took_s: float
    """From the moment in which it listens until the last worker is ready again."""
    cost: Cost
    dials: int
    """Since it was killed."""
    failures: int
    """Tunnels that were cut, and dials that failed."""


@dataclass(frozen=True)
class Bar:
    """One line."""

    text: str
    value: float
    bound: float
    unit: str
    is_at_size: bool = True
    """False: the study was smaller than what the bar speaks of."""

    @property
    def verdict(self) -> str:
        """Whether it is met; '' for a study of another size."""
        if not self.is_at_size:
            return ""
        return "met" if self.value <= self.bound else "missed"


@dataclass(frozen=True)
class Fleet:
    """All of it."""

    started: datetime
    environment: Mapping[str, object]
    tunnels: int
    joined: Sequence[Joined]
    """The base, then all."""
    idle: Cost
    returned: Returned
    decisions: Sequence[Decision]
    failures: Mapping[str, int]
    """Of dials and tunnels, by what happened, over the whole study; the gateway's death among them."""

    @property
    def tunnel_bytes(self) -> float:
        """Resident memory of one more tunnel."""
        few, many = self.joined
        return (many.memory.resident - few.memory.resident) / (many.tunnels - few.tunnels)

    def bars(self) -> Iterator[Bar]:
        """The project's, and what was found."""
        is_at_size = self.tunnels == BAR_TUNNELS
        yield Bar("memory of an idle tunnel", self.tunnel_bytes / KIB, MOST_TUNNEL_BYTES / KIB, "KiB")
        share = self.idle.gateway_share
        yield Bar(f"{BAR_TUNNELS} idle tunnels", 100 * share, 100 * MOST_IDLE_SHARE, "% of a core", is_at_size)
        yield Bar(f"{BAR_TUNNELS} workers are back", self.returned.took_s, MOST_RETURN_S, "s", is_at_size)
        by_size = {one.workers: one for one in self.decisions}
        if (one := by_size.get(DECISION_WORKERS)) is not None:
            yield Bar(f"a decision among {DECISION_WORKERS}", one.us, MOST_DECISION_US, "us of CPU")
        if len(self.decisions) > 1:
            yield self._growth()

    def _growth(self) -> Bar:
        """At most linear: us by workers never grows."""
        steps = zip(self.decisions, self.decisions[1:], strict=False)
        grown = max((more.us / few.us) / (more.workers / few.workers) for few, more in steps)
        return Bar("growth of a decision, by that of the fleet", grown, 1.0, "")

    def grids(self) -> Iterator[Grid]:
        """The tables, the bars last."""
        yield self._tunnels()
        if self.decisions:
            yield self._decisions()
        rows = [(bar.text, f"{bar.value:.3g} {bar.unit}", f"<= {bar.bound:g}", bar.verdict) for bar in self.bars()]
        yield Grid("bars", ("", "found", "bar", ""), rows)

    def _tunnels(self) -> Grid:
        columns = ("", "wall s", "gateway CPU s", "workers CPU s", "us of CPU each", "resident MiB", "PSS MiB")
        rows = [
            (
                f"{one.tunnels} tunnels, {one.more} of them new",
                *_of_cost(one.took_s, one.cost, one.more),
                f"{one.memory.resident / MIB:.1f}",
                f"{one.memory.proportional / MIB:.1f}",
            )
            for one in self.joined
        ]
        rows.append((f"{self.tunnels} idle", *_of_cost(self.idle.wall_s, self.idle, 0), "", ""))
        back = self.returned
        text = f"{self.tunnels} back after {back.down_s:.1f} s without"
        rows.append((text, *_of_cost(back.took_s, back.cost, self.tunnels), "", ""))
        return Grid("tunnels", columns, rows)

    def _decisions(self) -> Grid:
        rows = [
            (str(one.workers), f"{one.us:.1f}", f"{one.worst_us:.1f}", f"{one.tick_ms:.2f}", f"{one.view_ms:.1f}")
            for one in self.decisions
        ]
        return Grid("one job, by workers", ("workers", "us", "worst block us", "tick ms", "view ms"), rows)

    def as_json(self) -> dict[str, Any]:  # Any: JSON
        """docs/reference/bench-fleet.md describes it."""
        return {
            "schema": SCHEMA,
            "started": self.started.isoformat(timespec="seconds"),
            "environment": dict(self.environment),
            "tunnels": self.tunnels,
            "joined": [asdict(one) for one in self.joined],
            "idle": asdict(self.idle),
            "returned": asdict(self.returned),
            "decisions": [asdict(one) for one in self.decisions],
            "tunnel_bytes": self.tunnel_bytes,
            "failures": dict(self.failures),
            "bars": [{**asdict(bar), "verdict": bar.verdict} for bar in self.bars()],
        }


def _of_cost(took_s: float, cost: Cost, of: int) -> tuple[str, str, str, str]:
    each = f"{cost.gateway_s / of * 1e6:.0f}" if of else ""
    return f"{took_s:.1f}", f"{cost.gateway_s:.1f}", f"{cost.workers_s:.1f}", each
