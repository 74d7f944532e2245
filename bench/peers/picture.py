"""The picture of a comparison: for each size, latency and CPU time of every system, on a light ground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.peers.bars import bytes_text
from bench.peers.measure import concurrency_of_bars
from bench.peers.results import Cell, Key
from bench.peers.system import PRIVATE, PUBLIC, Kind, System
from bench.simulation.pictures import STYLE

WIDTH_INCHES, ROW_INCHES = 4.4, 0.34
COLOURS = {
    Kind.PLAIN: ("#777777", "#b5b5b5"),
    Kind.TUNNEL: ("#0072b2", "#7fb8d8"),
    Kind.SAME_WORKER: ("#009e73", "#80cfb9"),
    Kind.OURS: ("#d55e00", "#eeb08a"),
}
"""Public and private side: Okabe and Ito's, which most people who see few colours can tell apart."""


def draw(path: Path, systems: Sequence[System], cells: Mapping[Key, Cell]) -> None:
    """An SVG: above, from p50 to p99; below, CPU time by side. At as many connections as bars."""
    sizes = list(dict.fromkeys(size for _, size, _ in cells))
    concurrency = concurrency_of_bars({concurrency for _, _, concurrency in cells})
    drawn = [one for one in systems if any((one.name, size, concurrency) in cells for size in sizes)]
    height = 2 * (1.1 + ROW_INCHES * len(drawn))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            2, len(sizes), figsize=(1.2 + WIDTH_INCHES * len(sizes), height), squeeze=False, layout="constrained"
        )
        for column, size in enumerate(sizes):
            of = [(one, cells.get((one.name, size, concurrency))) for one in drawn]
            _draw_latency(axes[0, column], of, f"{bytes_text(size)}, {concurrency} connections")
            _draw_cpu(axes[1, column], of)
            for row in (0, 1):
                axes[row, column].set_yticks(range(len(drawn)), [one.name for one in drawn] if not column else [])
                axes[row, column].set_ylim(len(drawn) - 0.4, -0.6)
                axes[row, column].set_axisbelow(True)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _draw_latency(axes: Axes, of: Sequence[tuple[System, Cell | None]], title: str) -> None:
    axes.set_title(title, loc="left")
    for place, (system, cell) in enumerate(of):
        colour = COLOURS[system.kind][0]
        if cell is None or cell.all.p50_ms is None:
            continue
        axes.plot(cell.all.p50_ms, place, "o", color=colour)
        if cell.all.p99_ms is not None:
            axes.plot([cell.all.p50_ms, cell.all.p99_ms], [place, place], color=colour)
            axes.plot(cell.all.p99_ms, place, "|", color=colour, markersize=11, markeredgewidth=2)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    axes.set_xlabel("from p50 to p99, ms")


def _draw_cpu(axes: Axes, of: Sequence[tuple[System, Cell | None]]) -> None:
    for place, (system, cell) in enumerate(of):
        left = 0.0
        for part, colour in zip((PUBLIC, PRIVATE), COLOURS[system.kind], strict=True):
            width = cell.part_cpu_us.get(part, 0.0) if cell is not None else 0.0
            axes.barh(place, width, 0.7, left, color=colour)
            left += width
    axes.set_xlabel("CPU us a request: dark public side, light private")
