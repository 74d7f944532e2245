"""The pictures over time of a report, of one run or of two arms side by side: latency and jitter.

No picture hides a failure, a warm-up or a smaller number of samples than it seems to show: its caption says what is
drawn and what was left out. Same samples, same pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from bench.load.sample import Floats, Ints, Samples
from bench.measure.jitter import ipdv, rfc3550_series
from bench.measure.percentiles import nearest_rank
from bench.report.svg import (
    MAX_POINTS,
    SMALL,
    WIDE,
    clean,
    colour,
    draw_points,
    is_spread,
    new_figure,
    scale_ms,
    style,
    thin,
    to_svg,
)

MS, NS = 1e6, 1e9
MAX_FAILURE_MARKS = 500
MEDIAN_WINDOWS = 60
"""Of the line through the latencies over time, at most."""
LEAST_OF_WINDOW = 10
"""Requests that a window needs for a median; on average it has twice as many, or a short run would have no line."""
LEGEND_CHARACTERS = (48, 140)
"""That stand beside each other above a small picture and above a wide one."""


@dataclass(frozen=True)
class Arm:
    """One run, or one side of a comparison."""

    name: str
    """'' in a run by itself."""
    samples: Samples
    """All, warm-up included."""
    started_ns: int
    timeout_s: float

    @property
    def measured(self) -> Samples:
        """Without the warm-up."""
        return self.samples.measured()

    @property
    def response_ms(self) -> Floats:
        """Of the measured successes, in the order of the schedule."""
        return _successes(self.measured).response_ns / MS

    @property
    def service_ms(self) -> Floats:
        """Of the same."""
        return _successes(self.measured).service_ns / MS


@dataclass(frozen=True)
class Picture:
    """One figure of a page."""

    title: str
    caption: str
    svgs: tuple[str, ...]
    """One for every width, or one for wide pages and one for phones."""


def over_time(arms: Sequence[Arm], prefix: str) -> Picture:
    """Every request at its intended time; a failure at its time-out, where its answer should have been by."""
    title = "Latency over time"
    counts = [(len(arm.samples), int((~arm.samples.is_ok).sum())) for arm in arms]
    total, failed = (sum(one) for one in zip(*counts, strict=True))
    svgs, shown = [], 0
    with style():
        for size, suffix, most in ((WIDE, "w", MAX_POINTS), (SMALL, "n", MAX_POINTS // 2)):
            figure, axes = new_figure(size)
            drawn = sum(_draw_over_time(axes, arm, place, most // len(arms)) for place, arm in enumerate(arms))
            everything = np.concatenate([_heights(arm) for arm in arms])
            scale_ms(axes, everything, "y", logarithmic=is_spread(everything))
            last_s = max(float(arm.samples.column("t_int").max(initial=0) - arm.started_ns) for arm in arms) / NS
            axes.set(xlabel="intended send time, s", ylabel="response time, ms", xlim=(0, max(last_s, 0.1) * 1.01))
            legend(axes)
            svgs.append(to_svg(figure, prefix + suffix, title, f"{total} requests, {failed} of them failed."))
            shown = shown or drawn
    caption = f"Of points that would cover each other one is drawn: {shown} of {total} here, fewer on a phone. "
    caption += "The line is the median, part by part of the run; what is grey is warm-up. "
    caption += f"{failed} failed: each is a cross at its time-out, whatever it died of" if failed else "None failed"
    return Picture(title, caption + ".", tuple(svgs))


def _draw_over_time(axes: Axes, arm: Arm, place: int, most: int) -> int:
    """Returns how many points stand for the successes and failures."""
    samples = arm.samples
    at_s = (samples.column("t_int") - arm.started_ns) / NS
    warm, ok = np.asarray(samples.rows["warmup"]), samples.is_ok
    heights = _heights(arm)
    scaled = np.log(np.maximum(heights, 1e-6)) if is_spread(heights) else heights
    places = np.flatnonzero(ok)
    places = places[thin(at_s[places], scaled[places], most)]
    for name, those in (("warm", places[warm[places]]), (f"series{place}", places[~warm[places]])):
        draw_points(axes, at_s[those], heights[those], name)
    _draw_medians(axes, at_s[ok & ~warm], heights[ok & ~warm], place, arm.name)
    bad = np.flatnonzero(~ok)
    bad = bad[:: max(1, -(-len(bad) // MAX_FAILURE_MARKS))]
    if len(bad):
        label = f"failed, {arm.name}" if arm.name else "failed"
        marker = "x" if not place else "+"
        axes.plot(at_s[bad], heights[bad], marker, color=colour("bad"), markersize=5, label=clean(label), clip_on=False)
    return len(places) + len(bad)


def _heights(arm: Arm) -> Floats:
    """Response times in ms, the time-out for a failure."""
    samples = arm.samples
    return np.where(samples.is_ok, np.maximum(samples.response_ns / MS, 1e-3), arm.timeout_s * 1e3)


def _draw_medians(axes: Axes, at_s: Floats, heights: Floats, place: int, name: str) -> None:
    if len(at_s) < 2 * LEAST_OF_WINDOW:
        return
    edges = np.linspace(at_s[0], at_s[-1], min(MEDIAN_WINDOWS, len(at_s) // (2 * LEAST_OF_WINDOW)) + 1)
    parts = np.split(heights, np.searchsorted(at_s, edges[1:-1]))
    middles = (edges[:-1] + edges[1:]) / 2
    found = [
        (x, _rank(np.sort(part), 0.5)) for x, part in zip(middles, parts, strict=True) if len(part) >= LEAST_OF_WINDOW
    ]
    if found:
        label = f"median, {name}" if name else "median"
        axes.plot(*np.transpose(found), color=colour("ink"), linewidth=2.4)
        axes.plot(*np.transpose(found), color=colour(f"series{place}"), linewidth=1.4, label=clean(label))


def jitter_over_time(arms: Sequence[Arm], prefix: str) -> Picture:
    """RFC 3550's J after each answer, and the step from each request to the next."""
    title = "Jitter over time"
    svgs, shown, steps_in_all = [], 0, 0
    with style():
        for size, suffix, most in ((WIDE, "w", MAX_POINTS), (SMALL, "n", MAX_POINTS // 2)):
            figure, axes = new_figure(size)
            counts = [_draw_jitter(axes, arm, place, most // len(arms)) for place, arm in enumerate(arms)]
            if size == WIDE:
                shown, steps_in_all = (sum(one) for one in zip(*counts, strict=True))
            axes.set(xlabel="time of the answer, s", ylabel="ms")
            last_s = max(float(arm.samples.column("t_done").max(initial=0) - arm.started_ns) for arm in arms) / NS
            axes.set(xlim=(0, max(last_s, 0.1) * 1.01))
            legend(axes)
            svgs.append(to_svg(figure, prefix + suffix, title, "RFC 3550 interarrival jitter of the measured answers."))
    caption = (
        "Line: RFC 3550's smoothed jitter J, answer by answer, as they came in. Points: |IPDV|, the step from one "
    )
    caption += (
        f"request's latency to the next one's. {shown} of {steps_in_all} are drawn: none that would cover another, "
    )
    caption += "and none above the picture."
    return Picture(title, caption, tuple(svgs))


def _draw_jitter(axes: Axes, arm: Arm, place: int, most: int) -> tuple[int, int]:
    """(points drawn, points there are)."""
    ok = _successes(arm.measured)
    at_s = (ok.column("t_done") - arm.started_ns) / NS
    latency = ok.response_ns / MS
    arrival = np.argsort(at_s, kind="stable")
    series = rfc3550_series(latency[arrival])
    steps = np.abs(ipdv(ok.column("index"), latency))
    places = np.flatnonzero(np.diff(ok.column("index")) == 1) + 1
    top = max(float(series.max(initial=0.0)) * 1.6, float(np.median(steps)) * 4 if len(steps) else 0.0, 1e-3)
    inside = np.flatnonzero(steps <= max(top, axes.get_ylim()[1] if place else 0.0))
    kept = inside[thin(at_s[places[inside]], steps[inside], most)]
    draw_points(axes, at_s[places[kept]], steps[kept], "warm", 1.6)
    line = envelope(at_s[arrival], series, most // 10)
    label = f"J, {arm.name}" if arm.name else "J (RFC 3550)"
    axes.plot(at_s[arrival][line], series[line], color=colour(f"series{place}"), linewidth=1.2, label=clean(label))
    axes.set_ylim(0, max(top, axes.get_ylim()[1] if place else 0.0))
    return len(kept), len(steps)


def envelope(x: Floats, y: Floats, columns: int) -> Ints:
    """Places that draw a line as all of them would: the lowest and the highest of each column."""
    if len(x) <= 2 * columns:
        return np.arange(len(x))
    column = np.minimum(columns - 1, ((x - x[0]) / max(x[-1] - x[0], 1e-12) * columns).astype(np.int64))
    order = np.lexsort((y, column))
    starts = np.flatnonzero(np.diff(column[order], prepend=-1))
    ends = np.append(starts[1:], len(order)) - 1
    return np.unique(np.concatenate([order[starts], order[ends]]))


def _successes(samples: Samples) -> Samples:
    return samples.take(samples.is_ok)


def _rank(ordered: Floats, q: float) -> float:
    return float(ordered[nearest_rank(len(ordered), q) - 1])


def legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        room = LEGEND_CHARACTERS[0 if axes.bbox.width < axes.bbox.height * 2 else 1]
        columns = max(1, min(4, len(labels), room // (max(map(len, labels)) + 5)))
        axes.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, fontsize=9)
