"""The pictures of a distribution: cumulative, by percentile, as a histogram; of one curve or two. See figures.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.load.sample import Floats, Ints
from bench.measure.percentiles import interval_ranks, name_of, percentile
from bench.report.figures import Picture, legend
from bench.report.svg import SMALL, clean, colour, is_spread, new_figure, scale_ms, style, to_svg

CURVE_POINTS = 300
_MEANING = "Response counts from the intended send time, service from the first byte sent."
HISTOGRAM_BINS = (10, 60)
"""At least and at most; between them the root of the number of samples."""
Curve = tuple[str, Floats]
"""Name, and the values in ms."""


def cumulative(curves: Sequence[Curve], prefix: str) -> Picture:
    """Which share of the requests was answered within a time."""
    title = "Cumulative distribution"
    with style():
        figure, axes = new_figure(SMALL)
        for place, (name, values) in enumerate(curves):
            ordered = np.sort(values)
            ranks = _curve_ranks(len(ordered))
            shares = ranks / max(1, len(ordered)) * 100
            axes.step(ordered[ranks - 1], shares, where="post", label=clean(name), **_line(place))
        everything = np.concatenate([values for _, values in curves])
        scale_ms(axes, everything, "x", logarithmic=is_spread(everything))
        axes.set(xlabel="ms", ylabel="% of the successes", ylim=(0, 101))
        legend(axes)
        svg = to_svg(figure, prefix, title, "; ".join(_spoken(name, values) for name, values in curves))
    return Picture(title, f"The share of the successful requests that took at most so long. {_MEANING}", (svg,))


def by_percentile(curves: Sequence[Curve], prefix: str) -> Picture:
    """The HDR curve: latency against the number of nines, with the distribution-free interval as a band."""
    title = "Latency by percentile"
    with style():
        figure, axes = new_figure(SMALL)
        most = max((len(values) for _, values in curves), default=0)
        for place, (name, values) in enumerate(curves):
            ordered = np.sort(values)
            ranks = _curve_ranks(len(ordered))
            nines = len(ordered) / (len(ordered) - ranks + 1)
            axes.plot(nines, ordered[ranks - 1], label=clean(name), **_line(place))
            band = [(n, interval_ranks(len(ordered), 1 - 1 / n)) for n in nines[nines > 1.01]]
            known = [(n, ordered[pair[0] - 1], ordered[pair[1] - 1]) for n, pair in band if pair]
            if known:
                axes.fill_between(*np.transpose(known), color=colour(f"series{place}"), alpha=0.2, linewidth=0)
        everything = np.concatenate([values for _, values in curves])
        scale_ms(axes, everything, "y", logarithmic=is_spread(everything))
        _percentile_axis(axes, most)
        axes.set(ylabel="ms")
        legend(axes)
        svg = to_svg(figure, prefix, title, "; ".join(_spoken(name, values) for name, values in curves))
    caption = (
        "As HdrHistogram plots it: each step to the right is ten times rarer. The band is the 95 % interval of each "
    )
    return Picture(title, caption + "percentile; where it ends, there are too few samples for one.", (svg,))


def _percentile_axis(axes: Axes, samples: int) -> None:
    axes.set_xscale("log")
    axes.set_xlim(1, max(10.0, samples * 1.1))
    shares = [share for share in (50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999) if 100 / (100 - share) <= samples]
    axes.xaxis.set_major_locator(FixedLocator([100 / (100 - share) for share in shares]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _place: f"{100 - 100 / x:.6g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("percentile")


def histogram(curves: Sequence[Curve], prefix: str) -> Picture:
    """How many requests took how long, in bins of equal width on the axis as drawn."""
    title = "Histogram"
    everything = np.concatenate([values for _, values in curves])
    logarithmic = is_spread(everything)
    low, high = (float(everything.min()), float(everything.max())) if len(everything) else (0.0, 1.0)
    high = high if high > low else low + 1e-3
    bins = min(max(HISTOGRAM_BINS[0], round(len(everything) ** 0.5)), HISTOGRAM_BINS[1])
    edges = np.geomspace(low, high, bins + 1) if logarithmic else np.linspace(low, high, bins + 1)
    edges[0], edges[-1] = low, high  # geomspace rounds, and the extremes must be counted
    with style():
        figure, axes = new_figure(SMALL)
        for place, (_, values) in enumerate(curves):
            counts, _ = np.histogram(values, edges)
            paint = colour(f"series{place}")
            axes.stairs(counts, edges, color=paint, fill=len(curves) == 1, alpha=0.8, linewidth=1.2)
            for q, dashes in ((0.5, "--"), (0.99, ":")):
                if found := percentile(np.sort(values), q):
                    label = name_of(q) if len(curves) == 1 else None
                    line = colour("ink") if len(curves) == 1 else paint
                    axes.axvline(found.value, color=line, linestyle=dashes, linewidth=1.2, label=label)
        scale_ms(axes, everything, "x", logarithmic=logarithmic)
        axes.set(xlabel="response time, ms", ylabel="requests")
        axes.set_ylim(bottom=0)
        legend(axes)
        svg = to_svg(figure, prefix, title, "; ".join(_spoken(name, values) for name, values in curves))
    caption = f"{len(everything)} successes in {bins} bins"
    caption += ", each as many times wider than the one before (logarithmic axis)" if logarithmic else ""
    return Picture(title, caption + ". Dashed: p50, dotted: p99.", (svg,))


def _curve_ranks(samples: int) -> Ints:
    """Ranks, from 1, that draw a distribution: even in the middle, every one in both tails."""
    if samples <= CURVE_POINTS:
        return np.arange(1, samples + 1)
    even = np.linspace(1, samples, CURVE_POINTS // 2)
    tail = np.geomspace(1, samples / 2, CURVE_POINTS // 4)
    return np.unique(np.round(np.concatenate([even, tail, samples + 1 - tail])).astype(np.int64))


def _line(place: int) -> dict[str, Any]:  # Any: as matplotlib's own signatures
    return {"color": colour(f"series{place}"), "linewidth": 1.6, "linestyle": ("-", "--")[place % 2]}


def _spoken(name: str, values: Floats) -> str:
    if not len(values):
        return f"{name}: no success"
    ordered = np.sort(values)
    known = [(name_of(q), found) for q in (0.5, 0.9, 0.99) if (found := percentile(ordered, q))]
    points = "".join(f"{percent} {found.value:.4g} ms, " for percent, found in known)
    return f"{name}: {points}longest {ordered[-1]:.4g} ms, of {len(values)} successes"
