"""Pictures of parts: the anatomy of a request, its workers, and the ratios of a comparison. See figures.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from bench.measure.summary import Summary
from bench.report.figures import Picture
from bench.report.svg import SMALL, clean, colour, new_figure, style, to_svg

PLACES = {
    "client": ("client_lag", "connect", "tls", "download"),
    "gateway": ("auth", "upload", "queue"),
    "tunnel": ("tunnel_out", "tunnel_back"),
    "worker": ("worker_queue", "decode", "preprocess", "batch_wait", "inference", "postprocess"),
    "rest": ("network", "unnamed"),
}
"""Which part happens where, for its colour. Any other stage a server names has one of OTHER_SHADES."""
OTHER_SHADES = 4
LEAST_SHARE = 0.01
"""Parts below this share of every bar are drawn as one; the table has each."""
SMALLER = "smaller parts"
MOST_WORKERS = 16


def anatomy(bars: Sequence[tuple[str, Summary]], prefix: str) -> Picture:
    """Stacked bars, one for each percentile: each part's share of the response time. `bars`: name, and one of the
    summary's `anatomy`."""
    title = "Where the time went"
    shares = [(name, bar, _shares(bar["parts"])) for name, bar in bars]
    names = list(dict.fromkeys(part for _, _, one in shares for part in one))
    small = {part for part in names if all(one.get(part, 0.0) < LEAST_SHARE for _, _, one in shares)}
    shown = [part for part in names if part not in small] + [SMALLER] * bool(small)
    paints = dict(_paints(shown))
    rows = -(-len(shown) // 3)
    with style():
        figure, axes = new_figure((SMALL[0], 0.9 + 0.36 * len(bars) + 0.19 * rows))
        for place, (_, bar, one) in enumerate(shares):
            left, drawn = 0.0, {**one, SMALLER: sum(one.get(part, 0.0) for part in small)}
            for part in shown:
                width = 100 * drawn.get(part, 0.0)
                axes.barh(place, width, 0.7, left, color=paints[part], edgecolor=colour("card"), linewidth=0.5)
                left += width
            axes.text(101, place, f"{bar['response']:.4g} ms", va="center", fontsize=8.5)
        axes.set(yticks=range(len(bars)), yticklabels=[clean(name, 18) for name, _ in bars], xlim=(0, 121))
        axes.set_xticks([0, 25, 50, 75, 100])
        axes.invert_yaxis()
        axes.set_xlabel("% of the response time")
        axes.grid(visible=False)
        handles = [axes.barh(0, 0, color=paints[part], label=clean(part, 18)) for part in shown]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8.5, columnspacing=1.0)
        svg = to_svg(figure, prefix, title, "; ".join(_spoken(name, bar) for name, bar in bars))
    caption = (
        "Means over the requests around each percentile, so that the parts add up to the response time on the right. "
    )
    caption += "The residual, grey, is what no part explains: network (the way there and back) and unnamed (in the "
    return Picture(
        title,
        caption + "server, in none of its stages). Blue client, green gateway, purple tunnel, brown worker.",
        (svg,),
    )


def _shares(parts: dict[str, float]) -> dict[str, float]:
    """Of a residual below zero, as rounding can make it, nothing can be drawn."""
    whole = sum(max(0.0, value) for value in parts.values())
    return {name: max(0.0, value) / whole if whole > 0 else 0.0 for name, value in parts.items()}


def _paints(parts: Sequence[str]) -> Iterator[tuple[str, str]]:
    known = {part: f"{hue}{shade}" for hue, group in PLACES.items() for shade, part in enumerate(group)}
    known[SMALLER] = "grid"
    others = 0
    for part in parts:
        if part not in known:
            known[part] = f"other{others % OTHER_SHADES}"
            others += 1
        yield part, colour(known[part])


def _spoken(name: str, bar: Summary) -> str:
    largest = sorted(bar["parts"].items(), key=lambda part: -part[1])[:3]
    parts = ", ".join(f"{part} {value:.3g} ms" for part, value in largest)
    return f"{name}: {bar['response']:.4g} ms, most of it {parts}"


def workers(split: Sequence[Summary], prefix: str) -> Picture:
    """From p50 to p99 of each worker, those with most requests first."""
    title = "By worker"
    total = sum(one["requests"] for one in split)
    known = sorted((one for one in split if one["p50"] is not None), key=lambda one: -one["requests"])
    shown = known[:MOST_WORKERS]
    with style():
        figure, axes = new_figure((SMALL[0], max(1.6, 1.0 + 0.27 * len(shown))))
        for place, one in enumerate(shown):
            axes.plot(one["p50"], place, "o", color=colour("series0"), label="" if place else "p50", zorder=3)
            if one["p99"] is not None:
                axes.plot([one["p50"], one["p99"]], [place, place], color=colour("series0"), linewidth=2)
                axes.plot(one["p99"], place, "D", color=colour("series1"), label="" if place else "p99")
        labels = [f"{clean(one['name'] or '(not said)', 18)}, {one['requests'] / total:.0%}" for one in shown]
        axes.set(
            yticks=range(len(shown)), yticklabels=labels, xlabel="response time, ms", ylim=(-0.6, len(shown) - 0.4)
        )
        axes.set_xlim(left=0)
        axes.invert_yaxis()
        figure.legend(loc="outside upper center", ncols=2, fontsize=8.5)
        spoken = "; ".join(f"{one['name']}: {one['requests']} requests, p50 {one['p50']:.4g} ms" for one in shown)
        svg = to_svg(figure, prefix, title, spoken)
    caption = "The share of all requests that each answered, and from its p50 to its p99; no p99 where n is too small."
    if left_out := len(split) - len(shown):
        caption += f" {left_out} workers with fewer requests are not drawn."
    return Picture(title, caption, (svg,))


def ratios(rows: Sequence[Summary], names: tuple[str, str], prefix: str) -> Picture:
    """Each ratio with its interval, around 1. `rows`: those of a comparison that have a ratio."""
    title = f"Ratio {names[1]} / {names[0]}"
    with style():
        figure, axes = new_figure((SMALL[0], max(1.6, 0.9 + 0.3 * len(rows))))
        for place, row in enumerate(rows):
            paint = colour(
                "dim" if row["verdict"] == "none" else "series1" if row["verdict"] == "second" else "series0"
            )
            axes.plot([row["low"], row["high"]], [place, place], color=paint, linewidth=2)
            axes.plot(row["ratio"], place, "o", color=paint, markersize=5)
        axes.axvline(1, color=colour("ink"), linewidth=1)
        reach = max([1.1, *(max(row["high"], 1 / row["low"]) for row in rows)]) ** 1.08
        axes.set(xscale="log", xlim=(1 / reach, reach), yticks=range(len(rows)), ylim=(-0.6, len(rows) - 0.4))
        axes.set_yticklabels([row["measure"] for row in rows])
        axes.invert_yaxis()
        ticks = next(step for step in _RATIO_TICKS if 1 + step[0] >= reach**0.3 or step is _RATIO_TICKS[-1])
        axes.xaxis.set_major_locator(
            FixedLocator([1 / (1 + one) for one in ticks] + [1.0] + [1 + one for one in ticks])
        )
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _place: f"{x:.3g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        spoken = "; ".join(
            f"{row['measure']} {row['ratio']:.3f}, {row['low']:.3f} to {row['high']:.3f}" for row in rows
        )
        svg = to_svg(figure, prefix, clean(title, 100), spoken)
    return Picture(title, "With 95 % intervals; grey where the interval holds 1: no difference shown.", (svg,))


_RATIO_TICKS = (
    (0.01, 0.02),
    (0.02, 0.05),
    (0.05, 0.1),
    (0.1, 0.25),
    (0.25, 0.5),
    (0.5, 1.0),
    (1.0, 3.0),
    (4.0, 24.0),
    (99.0, 9999.0),
)
"""Distances from 1 that are marked, for wider and wider intervals."""
