"""A result on disk: what was written comes back, other tools can read it, and a failed write is never a result."""

from __future__ import annotations

import csv
import errno
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from bench.errors import BenchError
from bench.load.sample import ROW
from bench.report import files
from bench.report.files import CSV, HDR_LOG, PARQUET, SUMMARY, read_result, write_result
from tests.support.summaries import FAILED, WARM_UP, example_samples, example_summary


@pytest.fixture
def result(tmp_path: Path) -> Path:
    samples = example_samples()
    write_result(tmp_path / "out", samples, example_summary(samples))
    return tmp_path / "out"


def test_what_was_written_comes_back(result: Path) -> None:
    """Every column, name and stage of the samples, and the summary."""
    samples, back = example_samples(), read_result(result)
    for name in set(ROW.names or ()) - {"stages"}:
        assert np.array_equal(samples.rows[name], back.samples.rows[name]), name
    assert (back.samples.reasons, back.samples.workers) == (samples.reasons, samples.workers)
    for stage in samples.stage_names:
        assert np.array_equal(samples.stage_ms(stage), back.samples.stage_ms(stage), equal_nan=True)
    assert back.summary == example_summary(samples)


def test_csv_has_the_same_columns_with_names_in_full(result: Path) -> None:
    """One line a request; failures and warm-up are in it."""
    with (result / CSV).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 500
    assert (rows[50]["reason"], rows[50]["status"], rows[50]["stage_auth"]) == ("queue_full", "503", "")
    assert (rows[51]["worker"], rows[51]["stage_total"], rows[0]["warmup"]) == ("worker-1", "6", "true")
    assert list(rows[0]) == pyarrow.parquet.read_schema(result / PARQUET).names


def test_many_blocks_are_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples are converted a part at a time, and none is lost at the seams."""
    monkeypatch.setattr(files, "ROWS_AT_ONCE", 64)
    samples = example_samples()
    write_result(tmp_path, samples, example_summary(samples))
    assert np.array_equal(read_result(tmp_path).samples.column("t_done"), samples.column("t_done"))


def test_the_histogram_log_is_read_by_others(result: Path) -> None:
    """HdrHistogram's own reader finds each measured success in it, to three digits, in intervals of a second."""
    log = HistogramLogReader(str(result / HDR_LOG), HdrHistogram(1, 3_600_000_000, 3))
    total, intervals = HdrHistogram(1, 3_600_000_000, 3), 0
    while (histogram := log.get_next_interval_histogram()) is not None:
        total.add(histogram)
        intervals += 1
    log.close()
    assert total.get_total_count() == 500 - WARM_UP - FAILED
    assert intervals == 5
    assert total.get_value_at_percentile(99) == pytest.approx(19_000, rel=0.001)
    assert total.get_min_value() == pytest.approx(10_000, rel=0.001)


def test_summary_is_json_for_every_reader(result: Path) -> None:
    """No NaN or Infinity, which JSON has not."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    assert json.loads((result / SUMMARY).read_text(), parse_constant=refuse)["schema"] == files.SCHEMA


def test_an_empty_run_is_a_result_too(tmp_path: Path) -> None:
    """Stopped before the first answer: files without rows, and a summary that says so."""
    samples = example_samples(0)
    summary = example_summary(samples)
    write_result(tmp_path, samples, summary)
    assert len(read_result(tmp_path).samples) == 0
    assert "no request succeeded" in summary["verdicts"]


def test_a_full_disk_is_named_and_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written is said with its reason, what can be is there, and nothing half-written stays."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_write_parquet", full)
    samples = example_samples()
    with pytest.raises(BenchError, match=r"cannot write .*samples\.parquet: No space left on device"):
        write_result(tmp_path, samples, example_summary(samples))
    assert sorted(path.name for path in tmp_path.iterdir()) == [HDR_LOG, CSV, SUMMARY]


def test_what_is_no_result(tmp_path: Path, result: Path) -> None:
    """A directory without files, of another version, or broken: one kind of error that names it."""
    with pytest.raises(BenchError, match="holds no result"):
        read_result(tmp_path / "none")
    (result / PARQUET).write_bytes(b"PAR1")
    with pytest.raises(BenchError, match=re.escape(str(result))):
        read_result(result)
    (result / SUMMARY).write_text('{"schema": 0}')
    with pytest.raises(BenchError, match="another version"):
        read_result(result)
