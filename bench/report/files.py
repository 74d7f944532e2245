"""A result as files: samples.parquet, samples.csv, latency.hdr.log and summary.json; and back again.

Each file is written beside its name and renamed, so that a half-written one is never taken for a result. summary.json
is the last: a directory that has one is whole.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogWriter

from bench.errors import BenchError
from bench.load.sample import MAX_STAGES, ROW, Names, Samples
from bench.measure.summary import SCHEMA, Summary

PARQUET, CSV, HDR_LOG, SUMMARY = "samples.parquet", "samples.csv", "latency.hdr.log", "summary.json"
ROWS_AT_ONCE = 65_536
STAGE_PREFIX = "stage_"
NAMED = {"reason": "reasons", "worker": "workers", "label": "labels"}
"""Columns of numbers that stand for names, and where the names are."""
HDR_UNITS_PER_MS = 1000
"""Microseconds, from one to an hour, to three digits."""
HDR_INTERVALS = 300
"""At most so many lines in the log; one a second in a run of five minutes."""

Writer = Callable[[IO[bytes]], None]


@dataclass(frozen=True)
class Result:
    """What a directory holds."""

    directory: Path
    samples: Samples
    summary: Summary


def write_result(directory: Path, samples: Samples, summary: Summary) -> None:
    """Writes all files. Raises BenchError that names what could not be written; what could be is there."""
    _write(directory, [*_writers_of_samples(samples), *_writers_of_summary(samples, summary)])


def write_samples(directory: Path, samples: Samples) -> None:
    """The first half of `write_result`: what cannot be made again."""
    _write(directory, _writers_of_samples(samples))


def write_summary(directory: Path, samples: Samples, summary: Summary) -> None:
    """The second half."""
    _write(directory, _writers_of_summary(samples, summary))


def _write(directory: Path, writers: Sequence[tuple[str, Writer]]) -> None:
    failed = []
    for name, write in writers:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            _replace(directory / name, write)
        except OSError as error:
            failed.append(f"{directory / name}: {error.strerror or error}")
    if failed:
        raise BenchError("cannot write " + "; ".join(failed))


def check_writable(directory: Path) -> None:
    """Whether a result can be written is seen before it is measured. Makes the directory. Raises BenchError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise BenchError(f"cannot write to {directory}: {error.strerror or error}") from error


def write_json(path: Path, value: object) -> None:
    """Writes one file, whole or not at all; NaN as null. Raises BenchError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, lambda file: _write_json(value, file))
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror or error}") from error


def read_result(directory: Path) -> Result:
    """What `write_result` wrote. Raises BenchError."""
    try:
        summary = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))
        if not isinstance(summary, dict) or summary.get("schema") != SCHEMA:
            raise BenchError(f"{directory / SUMMARY} is not of schema {SCHEMA}: it was written by another version")
        summary.setdefault("networks", [])  # a result of before there were any
        table = pyarrow.parquet.read_table(directory / PARQUET)
        return Result(directory, from_table(table), summary)
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        raise BenchError(f"{directory} holds no result: {error}") from error


def to_table(samples: Samples) -> pyarrow.Table:
    """Columns as in ROW, names in full, one column `stage_NAME` (ms, null where not said) for each stage; times in
    ns."""
    rows = samples.rows
    columns: dict[str, Any] = {}  # Any: pyarrow has no types
    for name in rows.dtype.names or ():
        if name in NAMED:
            codes = pyarrow.array(np.ascontiguousarray(rows[name]).astype(np.int32))
            columns[name] = pyarrow.DictionaryArray.from_arrays(codes, pyarrow.array(getattr(samples, NAMED[name])))
        elif name == "request_id":
            columns[name] = pyarrow.array(rows[name].astype("U64"))
        elif name != "stages":
            columns[name] = pyarrow.array(np.ascontiguousarray(rows[name]))
    for name in samples.stage_names:
        columns[STAGE_PREFIX + name] = pyarrow.array(samples.stage_ms(name).astype(np.float32), from_pandas=True)
    return pyarrow.table(columns)


def from_table(table: pyarrow.Table) -> Samples:
    """The inverse. Raises KeyError or ValueError for a table that is none of ours."""
    rows = np.zeros(table.num_rows, ROW)
    names = {kind: Names("") for kind in NAMED}
    for name in ROW.names or ():
        if name == "stages":
            continue
        values = table.column(name)
        if name in NAMED:
            texts = values.cast(pyarrow.string()).to_pylist()
            rows[name] = [names[name].code(text) for text in texts]
        else:
            rows[name] = values.to_numpy()
    stages = tuple(name.removeprefix(STAGE_PREFIX) for name in table.column_names if name.startswith(STAGE_PREFIX))
    rows["stages"] = np.nan
    for place, name in enumerate(stages[:MAX_STAGES]):
        rows["stages"][:, place] = table.column(STAGE_PREFIX + name).to_numpy()
    return Samples(rows, names["reason"].all(), names["worker"].all(), names["label"].all(), stages[:MAX_STAGES])


def _writers_of_samples(samples: Samples) -> Sequence[tuple[str, Writer]]:
    return (PARQUET, lambda file: _write_parquet(samples, file)), (CSV, lambda file: _write_csv(samples, file))


def _writers_of_summary(samples: Samples, summary: Summary) -> Sequence[tuple[str, Writer]]:
    return (
        (HDR_LOG, lambda file: _write_hdr_log(samples, summary, file)),
        (SUMMARY, lambda file: _write_json(summary, file)),
    )


def _write_parquet(samples: Samples, file: IO[bytes]) -> None:
    with pyarrow.parquet.ParquetWriter(file, to_table(_part(samples, 0, 0)).schema, compression="zstd") as writer:
        for start in range(0, len(samples), ROWS_AT_ONCE):
            writer.write_table(to_table(_part(samples, start, start + ROWS_AT_ONCE)))


def _write_csv(samples: Samples, file: IO[bytes]) -> None:
    with pyarrow.csv.CSVWriter(file, to_table(_part(samples, 0, 0)).schema) as writer:
        for start in range(0, len(samples), ROWS_AT_ONCE):
            writer.write_table(to_table(_part(samples, start, start + ROWS_AT_ONCE)))


def _part(samples: Samples, start: int, end: int) -> Samples:
    return Samples(samples.rows[start:end], samples.reasons, samples.workers, samples.labels, samples.stage_names)


def _write_hdr_log(samples: Samples, summary: Summary, file: IO[bytes]) -> None:
    """Response times of the measured successes, by interval of their intended time; as HdrHistogram's tools."""
    lines = _TextFile(file)
    log = HistogramLogWriter(lines)
    log.output_log_format_version()
    log.output_comment("[response times in microseconds, from the intended send time]")
    log.output_comment(f"[started {summary['started']}]")
    log.output_legend()
    run = summary["run"]
    from_ns, to_ns = run["measured_from_ns"], run["measured_to_ns"]
    length_ns = max(1, math.ceil((to_ns - from_ns) / 1e9 / HDR_INTERVALS)) * 1_000_000_000
    ok = samples.measured()
    ok = ok.take(ok.is_ok)
    intervals = (ok.column("t_int") - from_ns) // length_ns
    micros = np.maximum(1, ok.response_ns // 1000)
    for interval in np.unique(intervals).tolist():
        histogram = HdrHistogram(1, 3_600_000_000, 3)
        for value, count in zip(*np.unique(micros[intervals == interval], return_counts=True), strict=True):
            histogram.record_value(int(value), int(count))
        start_s = (from_ns - run["started_ns"] + interval * length_ns) / 1e9
        log.output_interval_histogram(histogram, start_s, start_s + length_ns / 1e9, HDR_UNITS_PER_MS)


class _TextFile:
    """What the log writer writes to."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, text: str) -> None:
        self._file.write(text.encode())


def _write_json(value: object, file: IO[bytes]) -> None:
    file.write(json.dumps(finite(value), indent=2).encode() + b"\n")


def finite(value: Any) -> Any:  # Any: JSON
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _replace(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
