"""The pictures of the page: SVG with its letters as paths, on a light ground that stands in a dark page too.

Small enough for a phone's width: one plot each, large letters, lines told apart by dashes as well as by colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib import RcParams

matplotlib.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.simulation.scenario import Stall
from bench.simulation.studies import Curve

STYLE = RcParams(
    {
        "svg.fonttype": "path",
        "svg.hashsalt": "dispatch",  # the same picture gives the same file
        "figure.facecolor": "#fbfbf8",
        "axes.facecolor": "#fbfbf8",
        "axes.grid": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": "#d8d8d0",
        "font.size": 12,
        "legend.fontsize": 10.5,
        "legend.frameon": False,
        "lines.linewidth": 2.2,
    }
)

_Line = tuple[str, str | tuple[float, tuple[float, ...]]]
"""Colour and dashes."""

_IDEAL: _Line = ("#444444", (0, (1, 1.2)))
_LINES: tuple[_Line, ...] = (
    ("#0072b2", "-"),
    ("#d55e00", (0, (5, 1.5))),
    ("#009e73", (0, (3, 1.2, 1, 1.2))),
    ("#cc79a7", (0, (8, 2))),
    ("#8a6d00", (0, (2, 1))),
)
"""Okabe and Ito's colours, which most people who see few colours can tell apart, and a pattern for each."""


def draw_over_load(path: Path, curves: Sequence[Curve], title: str) -> None:
    """p99 over load; a line ends where its policy is unstable."""
    with plt.rc_context(STYLE):
        figure, axes = _frame(title)
        _lines(axes, curves, _IDEAL, *_LINES)
        axes.set_yscale("log")
        axes.set_xlabel("load")
        axes.set_ylabel("p99, ms")
        _ticks(axes)
        _save(figure, axes, path)


def draw_stall(path: Path, stall: Stall, curves: Sequence[Curve], title: str) -> None:
    """The slowest answer over time, with the stall marked."""
    with plt.rc_context(STYLE):
        figure, axes = _frame(title)
        axes.axvspan(0, stall.lasts_s, color="#e8d9c8", lw=0)
        _lines(axes, curves, *_LINES)
        axes.set_yscale("log")
        axes.set_xlabel("seconds since the worker stalled")
        axes.set_ylabel("slowest in half a second, ms")
        _save(figure, axes, path)


def _frame(title: str) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
    axes.set_title(title, loc="left", fontsize=12)
    return figure, axes


def _lines(axes: Axes, curves: Sequence[Curve], *lines: _Line) -> None:
    for curve, (colour, dashes) in zip(curves, lines, strict=False):
        axes.plot(curve.x, curve.y, color=colour, linestyle=dashes, label=curve.label)


def _ticks(axes: Axes) -> None:
    axes.set_yticks([10, 20, 50, 100, 200, 500, 1000], ["10", "20", "50", "100", "200", "500", "1000"])
    axes.minorticks_off()


def _save(figure: Figure, axes: Axes, path: Path) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, handlelength=3)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
