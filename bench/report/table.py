"""The table at the end of a run, for a terminal or a file.

Every number carries its unit, every percentile its interval or the words "n too small". What a reader must know before
quoting a number stands last, where it is seen.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.errors import printable
from bench.measure.summary import Summary, least_samples

TOO_SMALL = "n too small"


def show(console: Console, summary: Summary) -> None:
    """Prints all of it."""
    console.print(Group(*tables(summary)))


def tables(summary: Summary) -> Iterator[RenderableType]:
    """What is shown, in order."""
    run = summary["run"]
    yield Text(f"\n{run['url']}  {run['arrivals']}", style="bold")
    yield Text(f"warm-up: {run['warm_up']} ({run['warm_up_requests']} requests)\n", style="dim")
    for network in summary["networks"]:
        yield Text(f"{network_line(network)}\n", style="dim")
    yield _latencies(summary)
    yield _jitter(summary["jitter_ms"])
    yield _rates(summary)
    if summary["failures"]:
        yield _failures(summary)
    if summary["anatomy"]:
        yield _anatomy(summary["anatomy"])
    if any(worker["name"] for worker in summary["workers"]):
        yield _workers(summary["workers"])
    for verdict in summary["verdicts"]:
        yield Text(f"! {verdict}", style="yellow")


def network_line(network: Summary) -> str:
    """A network in between, and what its relay adds by itself."""
    arm = f" before {network['arm']}" if network["arm"] else ""
    adds = network["adds_ms"]
    return (
        f"Network{arm}: {network['profile']}, seed {network['seed']}: {network['text']}. The relay itself adds "
        f"{adds['p50']:.3f} ms to a round trip at p50, {adds['p99']:.3f} ms at p99"
    )


def milliseconds(value: float | None) -> str:
    """Four significant digits, so that columns of large and small numbers both read."""
    if value is None:
        return TOO_SMALL
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", overflow="fold")
    return table


def _row(table: Table, *cells: str, style: str = "") -> None:
    """Names are a server's and may look like markup."""
    table.add_row(*(Text(printable(cell)) for cell in cells), style=style)


def _latencies(summary: Summary) -> Table:
    table = _table(
        "latency, ms",
        "",
        "response",
        "95 % interval",
        "95 %, blocks",
        "service",
        f"n {summary['response_ms']['n']}",
    )
    needed = least_samples()
    service = summary["service_ms"]["percentiles"]
    for name, one in summary["response_ms"]["percentiles"].items():
        if one is None:
            _row(table, name, TOO_SMALL, "", "", TOO_SMALL, f"needs {needed[name]}")
            continue
        interval = _interval(one["low"], one["high"])
        blocks = _interval(one["block_low"], one["block_high"])
        _row(table, name, milliseconds(one["value"]), interval, blocks, milliseconds(service[name]["value"]))
    for name in ("min", "mean", "max"):
        if summary["response_ms"][name] is not None:
            values = (milliseconds(summary[kind][name]) for kind in ("response_ms", "service_ms"))
            _row(table, name, next(values), "", "", next(values))
    return table


def _interval(low: float, high: float) -> str:
    return f"{milliseconds(low)} to {milliseconds(high)}"


def _jitter(jitter: Summary) -> Table:
    table = _table("jitter, ms", "", "")
    _row(table, "RFC 3550 J, at the end", milliseconds(jitter["rfc3550"]))
    _row(table, "RFC 3550 J, largest", milliseconds(jitter["rfc3550_max"]))
    for name in ("mean", "p50", "p99"):
        _row(table, f"|IPDV| {name}", milliseconds(jitter[f"ipdv_{name}"]))
    for name, value in jitter["pdv"].items():
        _row(table, f"PDV {name}", milliseconds(value))
    _row(table, "standard deviation", milliseconds(jitter["std"]))
    _row(table, "p99 - p50", milliseconds(jitter["p99_p50"]))
    _row(table, "median absolute deviation", milliseconds(jitter["mad"]))
    return table


def _rates(summary: Summary) -> Table:
    rates, lag, little = summary["rates"], summary["send_lag_ms"], summary["little"]
    table = _table("rates", "", "")
    _row(table, "offered", f"{rates['offered']:.2f} /s ({rates['intended']} in {rates['window_s']:.2f} s)")
    _row(table, "achieved", f"{rates['achieved']:.2f} /s ({rates['succeeded']} succeeded)")
    _row(table, "failed", f"{rates['failed']} ({rates['not_sent']} of them never sent)")
    _row(table, "throughput", f"{rates['bytes_out'] / 1e6:.3f} MB/s out, {rates['bytes_in'] / 1e6:.3f} MB/s in")
    if lag:
        _row(table, "send lag", f"p50 {lag['p50']:.3f} ms, p99 {lag['p99']:.3f} ms (limit {lag['limit']:.3f} ms)")
    if little:
        law = f"{little['present']:.3f} present, {little['rate'] * little['time_s']:.3f} by rate and time"
        _row(table, "Little's law", f"{law} ({little['error']:.1%} off)")
    return table


def _failures(summary: Summary) -> Table:
    table = _table("failures", "reason", "status", "requests")
    for one in summary["failures"]:
        _row(table, one["reason"], str(one["status"] or "no answer"), str(one["count"]))
    return table


def _anatomy(bars: list[Summary]) -> Table:
    table = _table("where the time went, ms", "", *(f"{bar['name']}" for bar in bars))
    for name in bars[0]["parts"]:
        _row(table, name, *(f"{bar['parts'][name]:.3f}" for bar in bars))
    _row(table, "response", *(f"{bar['response']:.3f}" for bar in bars), style="bold")
    _row(table, "residual (network + unnamed)", *(f"{bar['residual']:.3f}" for bar in bars))
    _row(table, "requests in the mean", *(str(bar["requests"]) for bar in bars), style="dim")
    return table


def _workers(workers: list[Summary]) -> Table:
    table = _table("workers", "", "requests", "failed", "p50, ms", "p99, ms")
    for one in workers:
        row = (str(one["requests"]), str(one["failed"]), milliseconds(one["p50"]), milliseconds(one["p99"]))
        _row(table, one["name"] or "(not said)", *row)
    return table
