"""What a comparison leaves: peers.json with every number, peers.md with the tables, peers.svg with a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.peers.bars import ECHO, HTTP, Bar, bars_of
from bench.peers.baseline import FILE, SCHEMA, Ratio, as_json, baseline_of, ratios_of
from bench.peers.measure import Plan
from bench.peers.picture import draw
from bench.peers.results import Cell, Key
from bench.peers.slow_link import Slow
from bench.peers.system import Kind, System
from bench.peers.table import Grid, grids, markdown
from bench.report.files import write_json

OURS = (ECHO, HTTP)
TABLES, PICTURE = "peers.md", "peers.svg"


@dataclass
class Comparison:
    """All of it."""

    started: datetime
    environment: Mapping[str, object]
    plan: Plan
    systems: Sequence[System]
    """Those that were started."""
    versions: Mapping[str, str]
    skipped: Mapping[str, str]
    """Those that are not on this machine, and why."""
    cells: Mapping[Key, Cell]
    peaks: Mapping[tuple[str, int], Mapping[str, int]]
    slow: list[Slow] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    """Those that should have run and did not, or not to the end, and why."""

    def bars(self) -> list[Bar]:
        """Of this run."""
        tunnels, same_worker = (
            [one.name for one in self.systems if one.kind is kind] for kind in (Kind.TUNNEL, Kind.SAME_WORKER)
        )
        return bars_of(self.cells, tunnels, self.slow, same_worker)

    def is_sound(self) -> bool:
        """Whether this project's systems all ran to their end and answered every request."""
        return not self.broken.keys() & set(OURS)

    def ratios(self) -> list[Ratio]:
        """To compare with another run's."""
        ours = [one.name for one in self.systems if one.kind is Kind.OURS]
        others = [one.name for one in self.systems if one.kind is not Kind.OURS]
        return list(ratios_of(self.cells, ours, others))

    def grids(self) -> list[Grid]:
        """Its tables."""
        measured = grids([one.name for one in self.systems], self.cells, self.peaks, self.slow, self.bars())
        who = [(one.name, one.title, self.versions[one.name]) for one in self.systems]
        return [Grid("systems", ("name", "", "version"), who), *measured]

    def as_json(self) -> dict[str, Any]:  # Any: JSON
        """docs/reference/bench-peers.md describes it."""
        return {
            "schema": SCHEMA,
            "started": self.started.isoformat(timespec="seconds"),
            "environment": dict(self.environment),
            "plan": asdict(self.plan),
            "systems": [
                {"name": one.name, "title": one.title, "kind": one.kind.value, "version": self.versions[one.name]}
                for one in self.systems
            ],
            "skipped": dict(self.skipped),
            "broken": dict(self.broken),
            "cells": [asdict(cell) for cell in self.cells.values()],
            "peaks": [{"system": name, "size": size, **peak} for (name, size), peak in self.peaks.items()],
            "slow": [{**asdict(one), "extra_ms": one.extra_ms} for one in self.slow],
            "ratios": as_json(self.ratios()),
            "bars": [{**asdict(bar), "verdict": bar.verdict} for bar in self.bars()],
        }

    def write(self, directory: Path) -> None:
        """The files. Raises BenchError."""
        write_json(directory / FILE, self.as_json())
        said = self.environment
        where = f"{said['cpu']}, {said['usable_cores']} cores, {said['system']}, {self.started:%Y-%m-%d}"
        parts = [f"`{said['command']}`\n\n{where}\n", *(markdown(grid) for grid in self.grids())]
        try:
            (directory / TABLES).write_text("\n".join(parts), encoding="utf-8")
            draw(directory / PICTURE, self.systems, self.cells)
        except OSError as error:
            raise BenchError(f"cannot write to {directory}: {error.strerror or error}") from error

    def write_baseline(self, file: Path) -> None:
        """What later runs are compared with. Raises BenchError."""
        write_json(file, baseline_of(self.as_json()))
