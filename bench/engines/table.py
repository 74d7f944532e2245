"""The result as Markdown, for a terminal and a page alike; made from the JSON, so that an old result can be shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from bench.engines.parts import Part
from bench.engines.turns import Rate, Rounds

Json = dict[str, Any]  # Any: JSON


def as_json(part: Part, name: str, seconds: float) -> Json:
    """docs/reference/bench-engines.md describes its members."""
    return {
        "part": name,
        "title": part.title,
        "seconds": round(seconds, 1),
        "left_out": part.left_out,
        "lines": [
            {"text": one.text, **asdict(one.ratio), "cpu": one.cpu, "bar": str(one.bar), "verdict": one.verdict}
            for one in part.lines
        ],
        "systems": _systems(part.rounds),
        "notes": dict(part.notes),
    }


def _systems(rounds: Rounds) -> Json:
    """Medians over the rounds, and each round's."""
    names = rounds[0] if rounds else {}
    return {name: _system([one[name] for one in rounds]) for name in names}


def _system(blocks: Sequence[Rate]) -> Json:
    rates = [round(one.per_s, 2) for one in blocks]
    return {
        "images_per_s": median(rates),
        "cpu_ms": {part: round(median(one.cpu_ms_of(part) for one in blocks), 2) for part in blocks[0].cpu_s},
        "rounds": rates,
    }


def markdown(parts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Two tables: what is compared, and the rates behind it."""
    yield "| | ratio | 95 % | by CPU time | bar | |"
    yield "| :-- | --: | --: | --: | --: | --: |"
    for part in parts:
        for one in part["lines"]:
            spread = "" if one["low"] is None else f"{one['low']:.3f} to {one['high']:.3f}"
            cpu = "" if one["cpu"] is None else f"{one['cpu']:.3f}"
            cells = (f"{part['title']}: {one['text']}", f"{one['median']:.3f}", spread, cpu, one["bar"], one["verdict"])
            yield f"| {' | '.join(cells)} |"
    yield ""
    yield "| | images/s | by round | CPU ms an image |"
    yield "| :-- | --: | --: | --: |"
    for part in parts:
        for name, one in part["systems"].items():
            spread = f"{min(one['rounds']):.1f} to {max(one['rounds']):.1f}"
            cpu = ", ".join(f"{name} {ms:.2f}" for name, ms in one["cpu_ms"].items())
            yield f"| {part['title']}: {name} | {one['images_per_s']:.1f} | {spread} | {cpu} |"
    for part in parts:
        for name, number in part["notes"].items():
            yield f"\n{part['title']}: {name} {number:g}"
        if part["left_out"]:
            yield f"\nLeft out of {part['title']}: {part['left_out']}."
