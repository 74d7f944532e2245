"""What is made of known numbers: bars, verdicts, tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.fleet.cost import Cost
from bench.fleet.decision import Decision
from bench.fleet.document import KIB, Returned
from tests.support.fleet_run import fleet


def test_a_tunnels_memory_is_the_slope() -> None:
    """What the gateway holds without tunnels is not counted."""
    assert fleet().tunnel_bytes == pytest.approx(40 * KIB)


def test_bars_are_met_up_to_their_bound() -> None:
    """Each with its own number."""
    bars = list(fleet().bars())
    assert [bar.value for bar in bars] == pytest.approx([40, 20, 20, 20, 2 / 100])
    assert {bar.verdict for bar in bars} == {"met"}


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"idle": Cost(20.0, 5.1, 5.0)}, "idle tunnels"),
        ({"returned": Returned(5.0, 30.1, Cost(20.0, 10.0, 15.0), 1, 0)}, "are back"),
        ({"decisions": [Decision(1000, 50.1, 60.0, 1.0, 1.0)]}, "a decision among"),
        ({"decisions": [Decision(10, 1.0, 1.0, 1.0, 1.0), Decision(20, 2.1, 3.0, 1.0, 1.0)]}, "growth"),
    ],
)
def test_a_bar_over_its_bound_is_missed(changed: dict[str, object], text: str) -> None:
    """That one and no other."""
    bars = list(replace(fleet(), **changed).bars())  # type: ignore[arg-type]
    assert [bar.verdict for bar in bars if text in bar.text] == ["missed"]
    assert [bar.verdict for bar in bars].count("missed") == 1


def test_a_smaller_study_judges_what_does_not_depend_on_size() -> None:
    """Memory by tunnel and decisions, not the cost of 5,000 and their return."""
    verdicts = [bar.verdict for bar in fleet(tunnels=1000).bars()]
    assert verdicts == ["met", "", "", "met", "met"]


def test_tables_have_every_number() -> None:
    """The CPU time of one join is that of all by their number."""
    grids = {grid.title: grid for grid in fleet().grids()}
    assert grids["tunnels"].rows[1][4] == f"{1.5 / 2500 * 1e6:.0f}"
    assert [row[0] for row in grids["one job, by workers"].rows] == ["10", "1000"]
    assert all(len(row) == len(grid.columns) for grid in grids.values() for row in grid.rows)
