"""The result as text: grids of cells, for a terminal by rich and for a page as Markdown, from the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.errors import printable
from bench.peers.bars import Bar, bytes_text
from bench.peers.baseline import Change
from bench.peers.results import Cell, Key
from bench.peers.slow_link import Slow
from bench.peers.system import PRIVATE, PUBLIC, UPSTREAM

MIB = 1 << 20
NOTHING = ""


@dataclass(frozen=True)
class Grid:
    """A table."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def grids(
    systems: Sequence[str],
    cells: Mapping[Key, Cell],
    peaks: Mapping[tuple[str, int], Mapping[str, int]],
    slow: Sequence[Slow],
    bars: Sequence[Bar],
) -> Iterator[Grid]:
    """All of them, the bars last. `systems`: their names, in order."""
    sizes = list(dict.fromkeys(size for _, size, _ in cells))
    concurrencies = list(dict.fromkeys(concurrency for _, _, concurrency in cells))
    for size in sizes:
        yield _latencies(systems, cells, size, concurrencies)
        yield _costs(systems, cells, peaks, size, concurrencies)
    if slow:
        yield _slow(slow)
    if bars:
        yield _bars(bars)


def _latencies(systems: Sequence[str], cells: Mapping[Key, Cell], size: int, concurrencies: Sequence[int]) -> Grid:
    columns = ["system"]
    for number in concurrencies:
        columns += [f"c={number}: p50 ms", "p99 ms", "req/s"]
    rows = []
    for system in systems:
        row = [system]
        for number in concurrencies:
            cell = cells.get((system, size, number))
            row += [NOTHING] * 3 if cell is None else _of_load(cell)
        rows.append(row)
    return Grid(f"{bytes_text(size)}: latency and rate", columns, rows)


def _of_load(cell: Cell) -> list[str]:
    return [_digits(value) for value in (cell.all.p50_ms, cell.all.p99_ms, cell.all.requests_s)]


def _costs(
    systems: Sequence[str],
    cells: Mapping[Key, Cell],
    peaks: Mapping[tuple[str, int], Mapping[str, int]],
    size: int,
    concurrencies: Sequence[int],
) -> Grid:
    middle = concurrencies[len(concurrencies) // 2]
    columns = ["system", *(f"CPU us, c={number}" for number in concurrencies)]
    columns += [f"public + private, c={middle}", "upstream", "peak MiB", "load, % of a core", "failed"]
    rows = []
    for system in systems:
        of = [cells.get((system, size, number)) for number in concurrencies]
        split = of[len(concurrencies) // 2]
        peak = sum(peaks.get((system, size), {}).values()) / MIB
        rows.append(
            [
                system,
                *(NOTHING if one is None else _digits(one.all.cpu_us) for one in of),
                *([NOTHING] * 2 if split is None else _parts(split.part_cpu_us)),
                _digits(peak),
                f"{max((one.generator_share for one in of if one is not None), default=0.0):.0%}".rstrip("%"),
                str(sum(sum(one.failures.values()) for one in of if one is not None) or NOTHING),
            ]
        )
    return Grid(f"{bytes_text(size)}: cost of a request", columns, rows)


def _parts(cpu_us: Mapping[str, float]) -> list[str]:
    sides = " + ".join(_digits(cpu_us[part]) for part in (PUBLIC, PRIVATE) if part in cpu_us)
    return [sides, _digits(cpu_us.get(UPSTREAM))]


def _slow(slow: Sequence[Slow]) -> Grid:
    columns = ["system", "idle: p50 ms", "p99 ms", "n", "upload: p50 ms", "p99 ms", "n", "more at p99, ms", "share, %"]
    rows = [
        [
            one.system,
            *(_digits(value) for value in (one.idle_p50_ms, one.idle_p99_ms)),
            str(one.requests[0]),
            *(_digits(value) for value in (one.upload_p50_ms, one.upload_p99_ms)),
            str(one.requests[1]),
            f"{one.extra_ms:.1f}",
            f"{100 * one.share:.1f}",
        ]
        for one in slow
    ]
    return Grid("slow link, 50 ms and 20 Mbit/s: 1 kB while it idles, and during an upload", columns, rows)


def _bars(bars: Sequence[Bar]) -> Grid:
    rows = [
        [
            bar.text,
            f"{bar.value:.3f}",
            f"{min(bar.rounds):.2f} to {max(bar.rounds):.2f}" if bar.rounds else NOTHING,
            bar.against,
            NOTHING if bar.bound is None else f"{'at least' if bar.at_least else 'at most'} {bar.bound:g}",
            bar.verdict,
        ]
        for bar in bars
    ]
    return Grid("this project by the best tunnel", ["", "ratio", "by round", "best", "aimed at", ""], rows)


def grid_of(changes: Sequence[Change]) -> Grid:
    """Two runs, each side by side with the same peers."""
    rows = [
        [one.text, f"{one.change:.3f}", f"{one.low:.2f} to {one.high:.2f}", ", ".join(one.peers)] for one in changes
    ]
    return Grid("second by first, beside the same peers", ["", "ratio", "by round", "beside"], rows)


def show(console: Console, grid: Grid) -> None:
    """In a terminal."""
    table = Table(title=grid.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for place, column in enumerate(grid.columns):
        table.add_column(Text(column), justify="right" if place else "left", overflow="fold")
    for row in grid.rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)
    console.print()


def markdown(grid: Grid) -> str:
    """For a page."""
    lines = [
        f"**{grid.title}**\n",
        *(_line(row) for row in (grid.columns, [":--"] + ["--:"] * (len(grid.columns) - 1))),
    ]
    return "\n".join([*lines, *(_line(row) for row in grid.rows)]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(printable(cell).replace("|", "\\|") for cell in cells) + " |"


def _digits(value: float | None) -> str:
    """Three significant ones; whole numbers from a hundred on."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
