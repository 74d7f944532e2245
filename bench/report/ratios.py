"""A comparison for a terminal: both sides, their ratio with its interval, and who is better where that was shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.comparison import verdict_text
from bench.errors import printable
from bench.measure.summary import Summary
from bench.report.table import milliseconds

NOTE = (
    "Intervals of 95 % by block bootstrap, each by itself: of so many measures, one in three comparisons of a system "
    "with itself shows a difference somewhere. Decide by the measure that was chosen before."
)


def show(console: Console, found: Summary) -> None:
    """Prints all of it."""
    console.print(Group(*_parts(found)))


def rows(found: Summary) -> list[Sequence[str]]:
    """(measure, first, second, ratio, interval, verdict) of each."""
    made: list[Sequence[str]] = []
    for row in found["ratios"]:
        values = [milliseconds(row[side]) if row[side] is not None else "" for side in ("first", "second")]
        known = row["ratio"] is not None
        ratio = f"{row['ratio']:.3f}" if known else ""
        interval = f"{row['low']:.3f} to {row['high']:.3f}" if known else ""
        unit = f", {row['unit']}" if row["unit"] else ""
        made.append((row["measure"] + unit, *values, ratio, interval, verdict_text(row, found["names"])))
    return made


def failed_row(found: Summary) -> Sequence[str]:
    """The same six, with a difference in the place of the ratio."""
    failed = found["failed"]
    interval = "" if failed["low"] is None else f"{failed['low']:+.2%} to {failed['high']:+.2%}"
    shares = (f"{failed['first']:.2%}", f"{failed['second']:.2%}", f"{failed['difference']:+.2%}")
    verdict = "n too small" if failed["low"] is None else verdict_text(failed, found["names"])
    return ("failed (difference)", *shares, interval, verdict)


def _parts(found: Summary) -> Iterator[RenderableType]:
    names = [printable(name) for name in found["names"]]
    for name, url in zip(names, found["urls"], strict=True):
        yield Text(f"{name}: {printable(url)}", style="bold")
    yield Text(f"ratio: {names[1]} / {names[0]}\n", style="dim")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    titles = ("", *names, "ratio", "95 % interval", "verdict")
    for place, title in enumerate(titles):
        table.add_column(Text(title), justify="left" if place in (0, 5) else "right", overflow="fold")
    for row in (*rows(found), failed_row(found)):
        table.add_row(*(Text(printable(cell)) for cell in row))
    yield table
    yield Text(NOTE, style="dim")
    for warning in found["warnings"]:
        yield Text(f"! {printable(warning)}", style="yellow")
