"""The report of one run: whole, self-contained, safe, and the same each time."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bench.errors import BenchError
from bench.report.html import report, write_report
from tests.support.bench_run import skewed_ms, synthetic_run, synthetic_summary
from tests.support.html_page import HOSTILE, Document

FAILURES = {50: ("timeout", 0), 60: ("queue_full", 429), 61: ("queue_full", 429)}


def page_of(count: int = 1000, **options: object) -> str:
    run = synthetic_run(skewed_ms(count), warm_up=20, **options)  # type: ignore[arg-type]
    return report(run.samples, synthetic_summary(run))


def values_of(document: Document, key: str) -> list[str]:
    return [value for _, name, value in document.attributes if name == key]


def test_everything_is_in_it() -> None:
    """Each section, picture and table, the failures by reason, the verdicts, the environment and the command."""
    document = Document(page_of(failures=FAILURES, workers=("kitchen", "garage")))
    for words in (
        "Before quoting a number",
        "Latency over time",
        "Cumulative distribution",
        "Latency by percentile",
        "Histogram",
        "Jitter over time",
        "Where the time went",
        "By worker",
        "Response time, ms",
        "Service time, ms",
        "RFC 3550 J",
        "|IPDV| p99",
        "PDV p99.9",
        "residual (network + unnamed)",
        "worker_queue",
        "kitchen",
        "garage",
        "queue_full",
        "429",
        "timeout",
        "no answer",
        "offered",
        "achieved",
        "send lag, p99",
        "Little's law",
        "short: 9.8 s",
        "A processor",
        "python bench/test.py --rate 100",
        "the first 20 requests dropped (20 requests)",
    ):
        assert words in document.words, words


def test_a_short_run_has_its_medians_too() -> None:
    """The line through the latencies has fewer parts where there are fewer requests, and none below twenty."""
    assert ">median<" in page_of(100)
    assert ">median<" not in page_of(35)


def test_it_is_well_formed() -> None:
    """Elements end where they should, no id is used twice, and every reference finds its target."""
    document = Document(page_of(failures=FAILURES))
    ids = values_of(document, "id")
    assert len(ids) == len(set(ids))
    spoken = " ".join(values_of(document, "aria-labelledby")).split()
    inner = [value.removeprefix("#") for key in ("href", "xlink:href") for value in values_of(document, key)]
    clips = re.findall(r"url\(#([^)]+)\)", " ".join(values_of(document, "clip-path")))
    assert spoken
    assert clips
    assert {*spoken, *inner, *clips} <= set(ids)


def test_it_needs_nothing_but_itself() -> None:
    """No script, no frame, no style sheet, no address to load, and a policy that would forbid it."""
    page = page_of(failures=FAILURES)
    document = Document(page)
    assert not {"script", "iframe", "link", "img", "object", "embed", "base", "image"} & set(document.tags)
    assert not values_of(document, "src")
    assert all(value.startswith("#") for key in ("href", "xlink:href") for value in values_of(document, key))
    assert all(value.startswith("#") for value in re.findall(r"url\(([^)]*)\)", page))
    assert "@import" not in page
    assert "default-src 'none'; style-src 'unsafe-inline'" in values_of(document, "content")
    # the address that was measured is text, and nothing else is an address
    assert {found.rstrip(".") for found in re.findall(r"https?://[\w./-]+", page)} == {
        "https://example.test/inference/digits"
    }


def test_hostile_names_are_text() -> None:
    """Names of workers, stages, reasons and addresses cannot become HTML, mathematics or commands."""
    run = synthetic_run(
        skewed_ms(400),
        workers=(HOSTILE,),
        stages=(HOSTILE, "queue"),
        failures={30: (HOSTILE, 500)},
        labels=lambda _: "x",
    )
    summary = synthetic_summary(run, url=f"https://example.test/{HOSTILE}", name=HOSTILE)
    summary["environment"] = {"cpu": HOSTILE, "command": HOSTILE, HOSTILE: HOSTILE}
    summary["verdicts"].append(HOSTILE)
    page = report(run.samples, summary)
    document = Document(page)
    assert "script" not in document.tags
    assert not any(name.startswith("on") for _, name, _ in document.attributes)
    assert document.words.count("<script>alert(1)</script>") > 8
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", page)


def test_pictures_can_be_heard() -> None:
    """Every picture is an image with a title and a description that has its numbers."""
    page = page_of()
    pictures = re.findall(r"<svg[^>]*>(.*?)</svg>", page, re.DOTALL)
    assert page.count('role="img"') == len(pictures) == 9
    for picture in pictures:
        title = re.search(r"<title[^>]*>([^<]+)</title>", picture)
        description = re.search(r"<desc[^>]*>([^<]+)</desc>", picture)
        assert title
        assert description
    assert re.search(r"<desc[^>]*>response: p50 \d+\.\d+ ms, p90", page)


def test_colours_follow_the_reader() -> None:
    """Pictures have no colour of their own: each is a variable of the page, and the dark ones differ."""
    page = page_of(failures=FAILURES)
    pictures = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert not re.search(r"#[0-9a-f]{6}\b", pictures)
    used = set(re.findall(r"var\(--([a-z0-9]+)\)", pictures))
    assert {"ink", "grid", "bad", "series0"} <= used
    light, dark = page.split("@media (prefers-color-scheme: dark)")
    assert used <= set(re.findall(r"--([a-z0-9]+):", light))
    assert "--ink:" in dark.split("}")[0]


def test_too_few_samples_are_said() -> None:
    """A percentile without an interval is no number, also not in the pictures' descriptions."""
    page = page_of(120)
    assert "n too small" in Document(page).words
    assert "needs 368" in page
    spoken = "".join(re.findall(r"<desc[^>]*>([^<]+)</desc>", page))
    assert "p90" in spoken
    assert "p99" not in spoken


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_a_short_or_empty_run_has_a_report_too(count: int) -> None:
    """Ctrl-C after the first request, or before it."""
    run = synthetic_run([5.0] * count)
    document = Document(report(run.samples, synthetic_summary(run)))
    assert "Before quoting a number" in document.words


def test_a_run_in_which_everything_failed_has_a_report_too() -> None:
    """Failures alone: they are in the picture at their time-out, and counted."""
    run = synthetic_run([5.0] * 50, failures=dict.fromkeys(range(50), ("refused", 0)))
    document = Document(report(run.samples, synthetic_summary(run)))
    assert "50 failed: each is a cross at its time-out" in document.words
    assert "refused" in document.words
    assert "no request succeeded" in document.words


def test_the_same_run_gives_the_same_page() -> None:
    """Nothing of the page depends on when or how often it was made."""
    assert page_of(300) == page_of(300)


def test_a_large_run_stays_small(tmp_path: Path) -> None:
    """100,000 samples make a page of less than 2 MB, and it says how many of them are drawn."""
    random = np.random.default_rng(2)
    run = synthetic_run(random.lognormal(3, 0.8, 100_000).tolist(), rate=1000.0)
    write_report(tmp_path, run.samples, synthetic_summary(run))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(page.encode()) < 2_000_000
    drawn = re.search(r"one is drawn: (\d+) of 100000 here", page)
    assert drawn
    assert 2000 < int(drawn[1]) <= 5000


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The message has the path, and no half of a page is left."""
    file = tmp_path / "file"
    file.write_text("")
    run = synthetic_run([5.0] * 3)
    with pytest.raises(BenchError, match=r"cannot write .*file.*report\.html"):
        write_report(file, run.samples, synthetic_summary(run))
