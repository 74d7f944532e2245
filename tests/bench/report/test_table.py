"""The table says everything, and "n too small" where there is nothing to say."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench.measure.summary import Summary
from bench.report.table import milliseconds, show
from tests.support.summaries import example_samples, example_summary


def shown(summary: Summary, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    show(console, summary)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_everything_is_in_it() -> None:
    """Percentiles with intervals, each jitter by its name, rates, lag, Little's law, failures, anatomy, workers,
    verdicts."""
    text = shown(example_summary(example_samples()))
    for words in (
        "https://host/inference/x  constant, 100/s",
        "warm-up: nothing dropped (20 requests)",
        "RFC 3550 J",
        "|IPDV| p99",
        "PDV p99.9",
        "median absolute deviation",
        "offered",
        "achieved",
        "send lag",
        "Little's law",
        "queue_full",
        "inference",
        "residual",
        "worker-1",
        "! short: 4.8 s",
    ):
        assert words in text, words
    p99 = next(line for line in text.splitlines() if line.startswith("p99 "))
    assert p99.split()[:5] == ["p99", "19", "19", "to", "19"]


def test_too_few_samples_give_words_and_no_number() -> None:
    """p99.9 of 480 requests is "n too small", with the number that it needs."""
    text = shown(example_summary(example_samples()))
    line = next(line for line in text.splitlines() if line.startswith("p99.9"))
    assert line.split() == ["p99.9", "n", "too", "small", "n", "too", "small", "needs", "3688"]


def test_nothing_measured_is_shown_as_that() -> None:
    """An interrupted run without answers has a table too."""
    text = shown(example_summary(example_samples(0)))
    assert "no request succeeded" in text
    assert "n too small" in text


@pytest.mark.parametrize(
    ("value", "text"), [(1.23456, "1.235"), (0.01234, "0.01234"), (1234.56, "1235"), (None, "n too small")]
)
def test_milliseconds(value: float | None, text: str) -> None:
    """Four digits that count."""
    assert milliseconds(value) == text


def test_names_of_others_are_no_markup() -> None:
    """A worker called [red] is shown as that, and breaks nothing."""
    summary = example_summary(example_samples())
    summary["workers"][0]["name"] = "[red]x[/nothing]\x1b[2J"
    summary["failures"][0]["reason"] = "[/bold]"
    text = shown(summary)
    assert "[red]x[/nothing]" in text
    assert "[/bold]" in text
    assert "\x1b" not in text
