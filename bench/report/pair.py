"""report.html of a comparison: ratios first, then both curves in one picture, then each side by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.comparison import Compared
from bench.measure.summary import Summary
from bench.report import bars, curves, figures
from bench.report.html import (
    anatomy_table,
    command,
    environment_table,
    failures_table,
    heading,
    jitter_table,
    latency_tables,
    networks,
    rates_table,
    sanity_table,
)
from bench.report.page import cards, figure, page, paragraph, section, table, verdicts
from bench.report.ratios import NOTE, failed_row, rows


def pair_report(first: Compared, second: Compared, found: Summary) -> str:
    """The page."""
    sides = (first, second)
    title = f"{first.name} against {second.name}"
    return page(
        title,
        [
            f"<header>{heading(title)}{''.join(map(_what, sides))}{paragraph(_how(found), dim=True)}"
            f"{networks(first.summary)}</header>",
            section("Before quoting a number", verdicts(found["warnings"])),
            section("Ratios", cards(*_ratios(found))),
            section("Latency", _latency(sides)),
            section("Jitter", cards(figure(figures.jitter_over_time([one.arm for one in sides], "jitter")))),
            section("Anatomy of a request", *_anatomy(sides)),
            *(section(one.name, _alone(one)) for one in sides),
            section("Environment", *_environments(first, second)),
        ],
    )


def _what(one: Compared) -> str:
    return paragraph(f"{one.name}: {one.url}. {one.summary['run']['arrivals']}. Started {one.summary['started']}.")


def _how(found: Summary) -> str:
    if found["is_interleaved"]:
        return "Interleaved in one run: each request has a partner with the same picture. Rates are of both together."
    return "Two runs, one after the other."


def _ratios(found: Summary) -> Iterator[str]:
    names = (found["names"][0], found["names"][1])
    known = [row for row in found["ratios"] if row["ratio"] is not None and row["ratio"] > 0 and row["low"] > 0]
    if known:
        yield figure(bars.ratios(known, names, "ratios"))
    columns = ("", *names, "ratio", "95 % interval", "verdict")
    made = table("Ratios", columns, [*rows(found), failed_row(found)], f"{names[1]} / {names[0]}. {NOTE}")
    yield f'<div class="rest">{made}</div>'


def _latency(sides: Sequence[Compared]) -> str:
    lines = [(one.name, one.arm.response_ms) for one in sides]
    return cards(
        figure(figures.over_time([one.arm for one in sides], "time")),
        figure(curves.cumulative(lines, "cdf")),
        figure(curves.by_percentile(lines, "hdr")),
        figure(curves.histogram(lines, "histogram")),
    )


def _anatomy(sides: Sequence[Compared]) -> Iterator[str]:
    found = [(one.name, bar) for one in sides for bar in one.measures["anatomy"]]
    if not found:
        yield paragraph("Too few successes for a percentile.")
        return
    found.sort(key=lambda one: float(one[1]["name"][1:]))
    drawn = [(f"{bar['name']} {name}", bar) for name, bar in found]
    tables = [anatomy_table(one.measures["anatomy"], one.name) for one in sides if one.measures["anatomy"]]
    yield cards(figure(bars.anatomy(drawn, "anatomy")), *tables)


def _alone(one: Compared) -> str:
    made = [*latency_tables(one.measures), jitter_table(one.measures), rates_table(one.measures)]
    if "little" in one.measures:
        made.append(sanity_table(one.measures))
    return cards(*made, failures_table(one.measures))


def _environments(first: Compared, second: Compared) -> Iterator[str]:
    if first.summary is second.summary:
        yield environment_table(first.summary)
        yield from command(first.summary)
        return
    for one in (first, second):
        yield paragraph(f"{one.name}:")
        yield environment_table(one.summary)
        yield from command(one.summary)
