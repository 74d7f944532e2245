"""Turns, ratios, bars and the table, from rates that a test gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.engines.bar import Bar, Line
from bench.engines.parts import Part
from bench.engines.table import as_json, markdown
from bench.engines.turns import Rate, Ratio, System, Turns, costs, rates, ratio

IMAGES = [Path(f"{number}.png") for number in range(9)]


def rate(per_s: float, cpu_ms: float = 1.0) -> Rate:
    """In a second."""
    return Rate(int(per_s), 1.0, {"worker": per_s * cpu_ms / 2e3, "load": per_s * cpu_ms / 2e3})


def test_a_rate_says_images_a_second_and_what_one_costs() -> None:
    """Of all parts together, and of one."""
    one = Rate(40, 2.0, {"gateway": 0.04, "worker": 0.4})
    assert one.per_s == 20
    assert one.cpu_ms == pytest.approx(11)
    assert one.cpu_ms_of("gateway") == pytest.approx(1)


def test_all_systems_of_a_round_have_the_same_images() -> None:
    """Each round has others, the seed says which and who begins; nobody is left out."""
    seen: list[tuple[str, Sequence[Path], float]] = []

    def system(name: str) -> System:
        def run(images: Sequence[Path], seconds: float) -> Rate:
            seen.append((name, images, seconds))
            return rate(1)

        return run

    turns = Turns(12, 2.5, 3, IMAGES, at_once=4)
    systems = {name: system(name) for name in "abc"}
    assert [sorted(one) for one in turns.take(systems)] == [["a", "b", "c"]] * 12
    rounds = [seen[at : at + 3] for at in range(0, 36, 3)]
    assert all(images == one[0][1] and len(set(images)) == 4 for one in rounds for _, images, _ in one)
    assert len({tuple(one[0][1]) for one in rounds}) > 1
    assert {one[0][0] for one in rounds} == {"a", "b", "c"}
    assert {seconds for *_, seconds in seen} == {2.5}
    first = list(seen)
    seen.clear()
    list(turns.take(systems))
    assert seen == first


def test_a_ratio_is_taken_round_by_round() -> None:
    """Not of the medians: what disturbs a round disturbs both of it."""
    rounds = [{"a": rate(90), "b": rate(100)}, {"a": rate(45), "b": rate(30)}, {"a": rate(80), "b": rate(100)}] * 2
    assert rates(rounds, "a", "b") == Ratio(0.9, 0.8, 1.5)


def test_a_ratio_has_an_interval() -> None:
    """Of its median, from six rounds on, by ranks: 18 of them leave four out at either end (Bin(18, 1/2))."""
    assert ratio([1, 2, 3, 4, 5]) == Ratio(3)
    assert ratio([6, 5, 4, 3, 2, 1]) == Ratio(3.5, 1, 6)
    assert ratio(list(range(1, 19))) == Ratio(9.5, 5, 14)


def test_costs_are_a_ratio_of_images_too() -> None:
    """Twice the CPU time of an image is half of the images."""
    assert costs([{"a": rate(10, 4.0), "b": rate(10, 2.0)}], "a", "b").median == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("bar", "value", "verdict"),
    [
        (Bar(least=0.97), 0.97, "met"),
        (Bar(least=0.97), 0.969, "missed"),
        (Bar(most=5), 5.0, "met"),
        (Bar(most=5), 5.1, "missed"),
        (Bar(), 9.0, ""),
    ],
)
def test_a_bar_is_met_at_its_bound(bar: Bar, value: float, verdict: str) -> None:
    """In whichever direction it is."""
    assert bar.verdict(value) == verdict


def test_bars_are_for_one_model() -> None:
    """With another the ratio is shown and not judged."""
    line = Line("t", ratio([0.5]), Bar(least=0.9), 0.6)
    assert line.judged_for("mobilenet_v2").verdict == "missed"
    assert line.judged_for("digits") == Line("t", ratio([0.5]), Bar(), 0.6)


def test_the_table_has_every_line_and_every_system() -> None:
    """As Markdown, made from the JSON."""
    rounds = [{"tunnel": rate(90, 2.0), "loop": rate(100)}, {"tunnel": rate(80, 2.0), "loop": rate(100)}] * 3
    line = Line("tunnel by loop", rates(rounds, "tunnel", "loop"), Bar(least=0.8), 0.5)
    some = Part("one core", [line], rounds, notes={"images": 2})
    none = Part("batches", left_out="no TensorFlow")
    said = list(markdown([as_json(some, "one-core", 1.0), as_json(none, "batches", 0.0)]))
    assert "| one core: tunnel by loop | 0.850 | 0.800 to 0.900 | 0.500 | at least 0.8 | met |" in said
    assert "| one core: tunnel | 85.0 | 80.0 to 90.0 | worker 1.00, load 1.00 |" in said
    assert "\none core: images 2" in said
    assert "\nLeft out of batches: no TensorFlow." in said
