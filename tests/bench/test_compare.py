"""bench/compare.py and what it is made of: results in, ratios, warnings and statuses out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import compare as program
from bench.comparison import NOT_INTERLEAVED, arms_of, comparison, only, regressions
from bench.load.arms import Order
from bench.load.generator import Run
from bench.measure.summary import measures_of
from bench.report.files import write_result
from bench.report.pair import pair_report
from tests.support.bench_run import skewed_ms, synthetic_run, synthetic_summary
from tests.support.html_page import HOSTILE, Document


def saved(directory: Path, latencies_ms: list[float], **about: Any) -> Path:
    """A result of one system."""
    run = synthetic_run(latencies_ms)
    write_result(directory, run.samples, synthetic_summary(run, **about))
    return directory


def interleaved(names: tuple[str, str], slower: float, count: int = 1600) -> tuple[Run, dict[str, Any]]:
    """A run with two arms, the second `slower` times as slow as the first, under one load."""
    order = Order(1)
    values = np.array(skewed_ms(count))
    values = np.repeat(values[::2], 2) * [slower if order.arm(index) else 1.0 for index in range(count)]
    run = synthetic_run(values.tolist(), warm_up=21, labels=lambda index: names[order.arm(index)])
    summary = synthetic_summary(run)
    summary["run"]["block"] = 1
    summary["arms"] = [
        {"name": name, "url": f"http://{place}", **measures_of(run, only(run.samples, name, 1)[0].measured())}
        for place, name in enumerate(names)
    ]
    return run, summary


def run_program(*arguments: object) -> int:
    return program.main([str(one) for one in arguments])


def test_two_results_are_compared_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table with ratio, interval and verdict, named by directory; and that the two were not interleaved."""
    one, two = saved(tmp_path / "old", skewed_ms(500)), saved(tmp_path / "new", skewed_ms(500, seed=2, mean_ms=30.0))
    assert run_program(one, two, "--out", tmp_path / "out") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "new / old" in shown
    assert "old is better" in shown
    assert "the two were not interleaved" in shown
    page = Document((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert "old against new" in page.words
    assert NOT_INTERLEAVED in page.words


def test_what_differs_besides_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rates, pictures or machines that are not the same."""
    one, two = saved(tmp_path / "a", skewed_ms(400)), saved(tmp_path / "b", skewed_ms(400))
    summary = json.loads((two / "summary.json").read_text())
    summary["run"]["rate"] = 50.0
    summary["environment"]["cpu"] = "Another"
    (two / "summary.json").write_text(json.dumps(summary))
    assert run_program(one, two, "--json") == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert "they differ in rate: 100.0 and 50.0" in warnings
    assert "they differ in cpu: A processor and Another" in warnings
    assert not [one for one in warnings if "kind" in one]


def test_one_interleaved_result_is_compared_pair_by_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The load that both saw cancels: 10 % shows, exactly, and there is no warning of two runs."""
    run, summary = interleaved(("near", "far"), 1.1)
    write_result(tmp_path, run.samples, summary)
    assert run_program(tmp_path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["names"] == ["near", "far"]
    assert found["is_interleaved"] is True
    pairwise = found["ratios"][0]
    assert pairwise["measure"] == "pair by pair (median)"
    assert [pairwise[key] for key in ("ratio", "low", "high")] == pytest.approx([1.1] * 3, rel=1e-6)
    assert pairwise["verdict"] == "first"
    assert NOT_INTERLEAVED not in found["warnings"]


def test_a_request_more_is_no_throughput(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the window is cut within a pair, one system was asked once more: that is no difference between them."""
    run, summary = interleaved(("near", "far"), 1.0)
    offered = [arm["rates"]["offered"] for arm in summary["arms"]]
    assert offered[0] != offered[1]  # 21 requests of warm-up
    write_result(tmp_path, run.samples, summary)
    assert run_program(tmp_path, "--json") == 0
    ratios = {one["measure"]: one for one in json.loads(capsys.readouterr().out)["ratios"]}
    assert (ratios["throughput"]["ratio"], ratios["throughput"]["verdict"]) == (1.0, "none")


def test_the_page_of_two_has_both_in_one_picture() -> None:
    """Both curves in the cumulative picture, ratios with verdicts, each side by itself; and no id twice."""
    run, summary = interleaved(("near", "far"), 1.2)
    sides = arms_of(run.samples, summary)
    page = pair_report(*sides, comparison(*sides))
    document = Document(page)
    assert "cdf-d" in page
    assert "near: p50" in page
    assert "; far: p50" in page
    for words in (
        "near is better",
        "no difference shown",
        "Ratio far / near",
        "near: parts",
        "far: parts",
        "Jitter, ms",
    ):
        assert words in document.words, words
    ids = [value for _, key, value in document.attributes if key == "id"]
    assert len(ids) == len(set(ids))


def test_hostile_names_of_arms_are_text() -> None:
    """Also where they are the page's title."""
    run, summary = interleaved((HOSTILE, "b"), 1.2, 200)
    summary["arms"][0]["url"] = HOSTILE
    sides = arms_of(run.samples, summary)
    document = Document(pair_report(*sides, comparison(*sides)))
    assert "script" not in document.tags
    assert not any(name.startswith("on") for _, name, _ in document.attributes)


def test_a_regression_has_a_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --relative: 1 when the second is worse, 0 when it is better, the same, or worse within the tolerance."""
    base = saved(tmp_path / "base", skewed_ms(1000))
    same = saved(tmp_path / "same", skewed_ms(1000))
    slow = saved(tmp_path / "slow", skewed_ms(1000, mean_ms=24.0))
    assert run_program(base, same, "--relative") == 0
    assert run_program(slow, base, "--relative") == 0
    assert run_program(base, slow) == 0
    assert run_program(base, slow, "--relative", "--tolerance", "50") == 0
    assert run_program(base, slow, "--relative") == 1
    assert "slow is worse than base: p50, p90, p99" in capsys.readouterr().err


@pytest.mark.parametrize(("low", "high", "expected"), [(1.02, 1.3, []), (1.06, 1.3, ["m"]), (0.8, 0.9, ["m"])])
def test_the_whole_interval_is_beyond_the_tolerance(low: float, high: float, expected: list[str]) -> None:
    """5 % more, or for what should be large 5 % less; the nearer end of the interval decides."""
    row = {"measure": "m", "verdict": "first", "low": low, "high": high}
    failed = {"verdict": "none", "low": 0.0}
    assert regressions({"ratios": [row], "failed": failed}, 0.05) == expected
    assert regressions({"ratios": [{**row, "verdict": "second"}], "failed": failed}, 0.05) == []


def test_more_failures_are_a_regression() -> None:
    """By percentage points."""
    found = {"ratios": [], "failed": {"verdict": "first", "low": 0.02}}
    assert regressions(found, 0.01) == ["failed"]
    assert regressions(found, 0.03) == []


def test_what_cannot_be_compared_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2: a result with itself, three of them, one of one system, one of two beside another, none at all."""
    one, two = saved(tmp_path / "a", skewed_ms(50)), saved(tmp_path / "b", skewed_ms(50))
    run, summary = interleaved(("x", "y"), 1.0, 100)
    write_result(tmp_path / "ab", run.samples, summary)
    for results, message in (
        ((one, one), "two different ones"),
        ((one, two, tmp_path), "two different ones"),
        ((one,), "name a second result"),
        ((tmp_path / "ab", one), "compare it by itself"),
        ((one, tmp_path / "none"), "holds no result"),
    ):
        assert run_program(*results) == 2
        assert message in capsys.readouterr().err


def test_short_results_have_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Too few samples give words in the place of a ratio."""
    assert (
        run_program(saved(tmp_path / "a", skewed_ms(20)), saved(tmp_path / "b", skewed_ms(20)), "--out", tmp_path) == 0
    )
    assert "n too small" in capsys.readouterr().out
    assert "n too small" in (tmp_path / "report.html").read_text(encoding="utf-8")


PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "bench-compare.md").read_text(encoding="utf-8")


def first_cells(title: str) -> list[str]:
    """What stands in backticks in the first column of a section's table."""
    text = PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def test_the_page_describes_each_flag() -> None:
    """docs/reference/bench-compare.md has the flags that the program takes, and no other."""
    flags = {action.option_strings[-1] for action in program._parser()._actions if action.option_strings}
    assert sorted(first_cells("Flags")) == sorted(flags - {"--help"})


def test_the_page_describes_each_member() -> None:
    """And the members of what --json prints."""
    run, summary = interleaved(("near", "far"), 1.0, 200)
    found = comparison(*arms_of(run.samples, summary))
    assert sorted(first_cells("JSON")) == sorted(found)
    text = PAGE.split("## JSON", 1)[1]
    for inner in (found["ratios"][0], found["failed"]):
        assert all(f"`{name}`" in text for name in inner)
