"""report.html of one run: what was found, as pictures and tables, with all that is needed to judge it.

The same summary and samples give the same page, so a report can be made again from a result's directory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.load.sample import Samples
from bench.measure.summary import Summary, least_samples
from bench.report import bars, curves, figures
from bench.report.figures import Arm
from bench.report.page import MAX_TEXT, cards, figure, page, paragraph, section, table, text, verdicts
from bench.report.table import TOO_SMALL, milliseconds, network_line

REPORT = "report.html"
MOST_ROWS = 60
"""Of a table of failures or workers: the most frequent."""


def write_report(directory: Path, samples: Samples, summary: Summary) -> None:
    """Writes report.html. Raises BenchError."""
    write_page(directory, report(samples, summary))


def write_page(directory: Path, document: str) -> None:
    """Writes report.html whole or not at all. Raises BenchError."""
    path = directory / REPORT
    part = path.with_name(path.name + ".part")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        part.write_text(document, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise BenchError(f"cannot write {path}: {error.strerror or error}") from error


def report(samples: Samples, summary: Summary) -> str:
    """The page."""
    run = summary["run"]
    arm = arm_of(samples, summary)
    title = run["name"] or f"Latency of {run['url']}"
    return page(
        title,
        [
            f"<header>{heading(title)}{paragraph(_what(summary))}{paragraph(_warm_up(run), dim=True)}"
            f"{networks(summary)}</header>",
            section("Before quoting a number", verdicts(summary["verdicts"])),
            section("Latency", _latency_pictures(arm), cards(*latency_tables(summary))),
            section("Jitter", cards(figure(figures.jitter_over_time([arm], "jitter")), jitter_table(summary))),
            section("Anatomy of a request", *_anatomy(summary)),
            section("Workers", *_workers(summary)),
            section("Failures", failures_table(summary)),
            section("Can it be believed", cards(rates_table(summary), sanity_table(summary))),
            section("Environment", environment_table(summary), *command(summary)),
        ],
    )


def arm_of(samples: Samples, summary: Summary, name: str = "") -> Arm:
    """A run, as pictures take it."""
    run = summary["run"]
    return Arm(name, samples, run["started_ns"], run["timeout_s"])


def heading(title: str) -> str:
    """The page's own."""
    return f"<h1>{text(title, 200)}</h1>"


def networks(summary: Summary) -> str:
    """What was put between us and the servers; '' for nothing."""
    return "".join(paragraph(_network(one), dim=True) for one in summary["networks"])


def _network(one: Summary) -> str:
    relay, line = one["relay"], network_line(one)
    if not relay:
        return f"{line}."
    late = ", ".join(f"{way} {relay[way]['late_us']['p99'] or 0:.0f} µs" for way in ("up", "down"))
    return f"{line}. In this run it delivered late, at p99: {late}."


def _what(summary: Summary) -> str:
    run = summary["run"]
    kept = "kept alive" if run["keep_alive"] else "one for each request"
    connections = f"at most {run['connections']}" if run["connections"] else "as many as needed"
    pictures = f"{run['pictures']} pictures of {run['picture_bytes_mean'] / 1e3:.1f} kB on average"
    return (
        f"{run['url']}. {run['arrivals']}. Connections: {connections}, {kept}. Time-out {run['timeout_s']:g} s. "
        f"{pictures}. Started {summary['started']}."
    )


def _warm_up(run: Summary) -> str:
    return f"Warm-up: {run['warm_up']} ({run['warm_up_requests']} requests). Seed {run['seed']}."


def _latency_pictures(arm: Arm) -> str:
    lines = [("response", arm.response_ms), ("service", arm.service_ms)]
    return cards(
        figure(figures.over_time([arm], "time")),
        figure(curves.cumulative(lines, "cdf")),
        figure(curves.by_percentile(lines, "hdr")),
        figure(curves.histogram(lines[:1], "histogram")),
    )


def latency_tables(measures: Summary) -> Iterator[str]:
    """Of response and service times."""
    needed = least_samples()
    for key, name in (("response_ms", "Response time, ms"), ("service_ms", "Service time, ms")):
        found = measures[key]
        rows: list[Sequence[object]] = []
        for percent, one in found["percentiles"].items():
            if one is None:
                rows.append((percent, TOO_SMALL, f"needs {needed[percent]}", ""))
            else:
                intervals = [_interval(one["low"], one["high"]), _interval(one["block_low"], one["block_high"])]
                rows.append((percent, milliseconds(one["value"]), *intervals))
        rows += [(one, milliseconds(found[one]), "", "") for one in ("min", "mean", "max") if found[one] is not None]
        note = f"{found['n']} successes. Nearest rank; intervals of 95 %: distribution-free, and by block bootstrap. "
        note += f"Autocorrelation of neighbours {found['autocorrelation']:.2f}."
        columns = ("", "value", "interval", "by blocks")
        shown = 4 if any(row[3] for row in rows) else 3
        yield table(name, columns[:shown], [row[:shown] for row in rows], note)


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{milliseconds(low)} to {milliseconds(high)}"


def jitter_table(measures: Summary) -> str:
    """Each measure by its name."""
    found = measures["jitter_ms"]
    rows = [("RFC 3550 J, at the end", found["rfc3550"]), ("RFC 3550 J, largest", found["rfc3550_max"])]
    rows += [(f"|IPDV| {one}", found[f"ipdv_{one}"]) for one in ("mean", "p50", "p99")]
    rows += [(f"PDV {one}", value) for one, value in found["pdv"].items()]
    rows += [("standard deviation", found["std"]), ("p99 - p50", found["p99_p50"])]
    rows += [("median absolute deviation", found["mad"])]
    note = "J: RFC 3550 6.4.1. IPDV: step from one request to the next, RFC 3393. PDV: above the fastest, RFC 5481."
    return table("Jitter, ms", ("", ""), [(name, milliseconds(value)) for name, value in rows], note)


def _anatomy(summary: Summary) -> Iterator[str]:
    found = summary["anatomy"]
    if not found:
        yield paragraph("Too few successes for a percentile.")
        return
    if not any(bar["parts"].keys() - set(bars.PLACES["client"]) - set(bars.PLACES["rest"]) for bar in found):
        yield paragraph("The server sends no Server-Timing: its side is one piece, network.")
    yield cards(figure(bars.anatomy([(bar["name"], bar) for bar in found], "anatomy")), anatomy_table(found))


def anatomy_table(found: Sequence[Summary], name: str = "") -> str:
    """Every part, residual and sum, by percentile. `name`: whose, in a comparison."""
    rows: list[Sequence[object]] = [
        (part, *(milliseconds(bar["parts"][part]) for bar in found)) for part in found[0]["parts"]
    ]
    rows.append(("response", *(milliseconds(bar["response"]) for bar in found)))
    rows.append(("residual (network + unnamed)", *(milliseconds(bar["residual"]) for bar in found)))
    rows.append(("requests in the mean", *(bar["requests"] for bar in found)))
    title = f"{name}: parts of the response time, ms" if name else "Parts of the response time, ms"
    return table(title, ("", *(bar["name"] for bar in found)), rows)


def _workers(summary: Summary) -> Iterator[str]:
    split = sorted(summary["workers"], key=lambda one: -one["requests"])
    if not any(one["name"] for one in split):
        yield paragraph("No answer named its worker.")
        return
    rows = [
        (
            one["name"] or "(not said)",
            one["requests"],
            one["failed"],
            milliseconds(one["p50"]),
            milliseconds(one["p99"]),
        )
        for one in split[:MOST_ROWS]
    ]
    split_table = table("Workers", ("", "requests", "failed", "p50, ms", "p99, ms"), rows, _left_out(len(split)))
    pictures = [figure(bars.workers(split, "workers"))] if any(one["p50"] is not None for one in split) else []
    yield cards(*pictures, split_table)


def failures_table(measures: Summary) -> str:
    """By reason and status."""
    found = measures["failures"]
    if not found:
        return paragraph("None.")
    rows = [(one["reason"], one["status"] or "no answer", one["count"]) for one in found[:MOST_ROWS]]
    return table("Errors by reason", ("reason", "HTTP status", "requests"), rows, _left_out(len(found)))


def _left_out(rows: int) -> str:
    return f"{rows - MOST_ROWS} rows with fewer requests are left out." if rows > MOST_ROWS else ""


def rates_table(measures: Summary) -> str:
    """Offered against achieved."""
    found = measures["rates"]
    rows = [
        ("offered", f"{found['offered']:.2f} /s"),
        ("achieved", f"{found['achieved']:.2f} /s"),
        ("window", f"{found['window_s']:.2f} s"),
        ("intended", found["intended"]),
        ("succeeded", found["succeeded"]),
        ("failed", found["failed"]),
        ("of these never sent", found["not_sent"]),
        ("sent bytes", f"{found['bytes_out'] / 1e6:.3f} MB/s"),
        ("received bytes", f"{found['bytes_in'] / 1e6:.3f} MB/s"),
    ]
    return table("Rates", ("", ""), rows)


def sanity_table(summary: Summary) -> str:
    """The generator's lag with its verdict, and Little's law."""
    lag, law = summary["send_lag_ms"], summary["little"]
    rows: list[Sequence[object]] = []
    if lag:
        rows += [(f"send lag, {key}", f"{lag[key]:.3f} ms") for key in ("p50", "p99", "largest")]
        rows.append(("limit of its p99", f"{lag['limit']:.3f} ms"))
        rows.append(("the generator", "was the limit" if lag["is_generator_limited"] else "kept up"))
    if law:
        rows.append(("present, counted", f"{law['present']:.3f}"))
        rows.append(("rate x time", f"{law['rate'] * law['time_s']:.3f}"))
        rows.append(("Little's law", f"{'holds' if law['holds'] else 'does not hold'}, {law['error']:.1%} off"))
    rows.append(("most in flight", summary["run"]["most_in_flight"]))
    return table("Sanity", ("", ""), rows)


def environment_table(summary: Summary) -> str:
    """What the numbers belong to."""
    found = summary["environment"]
    rows: list[Sequence[object]] = []
    for name, value in found.items():
        if name == "command":
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{key} {one}" for key, one in value.items())
        elif isinstance(value, list):
            value = "; ".join(f"{one:.2f}" if isinstance(one, float) else str(one) for one in value) or "none"
        rows.append((name.replace("_", " "), value))
    return table("Machine and versions", ("", ""), rows, words=2, longest=MAX_TEXT)


def command(summary: Summary) -> Iterator[str]:
    """As it was typed, without secrets."""
    yield paragraph("The command:")
    yield f"<pre><code>{text(summary['environment'].get('command', ''))}</code></pre>"
