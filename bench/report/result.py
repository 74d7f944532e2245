"""A result of either kind, of one system or of two, as a table and as a page."""

from __future__ import annotations

from rich.console import Console

from bench.comparison import arms_of
from bench.load.sample import Samples
from bench.measure.summary import Summary
from bench.report import ratios, table
from bench.report.html import report
from bench.report.pair import pair_report


def show(console: Console, summary: Summary) -> None:
    """The table."""
    if "comparison" in summary:
        ratios.show(console, summary["comparison"])
    else:
        table.show(console, summary)


def document(samples: Samples, summary: Summary) -> str:
    """The page. The same result gives the same page."""
    if "comparison" in summary:
        return pair_report(*arms_of(samples, summary), summary["comparison"])
    return report(samples, summary)
