"""python -m bench.report: the table and the report of a stored result, again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.report.__main__ import main
from bench.report.files import SUMMARY, write_result
from tests.support.summaries import example_samples, example_summary


@pytest.fixture
def result(tmp_path: Path) -> Path:
    samples = example_samples()
    write_result(tmp_path / "result", samples, example_summary(samples))
    return tmp_path / "result"


def test_a_report_is_made_again(result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table is shown, and report.html is written: into the result, or elsewhere, the same."""
    assert main([str(result)]) == 0
    assert "latency, ms" in capsys.readouterr().out
    assert main([str(result), "--out", str(tmp_path / "other")]) == 0
    page = (result / "report.html").read_text()
    assert "https://host/inference/x" in page
    assert (tmp_path / "other" / "report.html").read_text() == page


def test_a_result_of_before_there_were_networks(result: Path) -> None:
    """It is read as one without."""
    summary = json.loads((result / SUMMARY).read_text())
    del summary["networks"]
    (result / SUMMARY).write_text(json.dumps(summary))
    assert main([str(result)]) == 0


def test_what_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and what is missing."""
    assert main([str(tmp_path)]) == 2
    assert "holds no result" in capsys.readouterr().err


def test_nowhere_to_write(result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 3, after the table."""
    (tmp_path / "file").write_text("")
    assert main([str(result), "--out", str(tmp_path / "file")]) == 3
    captured = capsys.readouterr()
    assert "latency, ms" in captured.out
    assert "cannot write" in captured.err
