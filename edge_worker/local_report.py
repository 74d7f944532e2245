"""What a local run shows: a table for people, or one JSON document with every single time for programs.

Pure: a finished run in, text out. Percentiles are nearest rank over all answers; where there are too few for one, it
is left out rather than made up.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from edge_worker.local import FileResult, LocalRun

MIN_ANSWERS_P99 = 368
"""Fewer cannot bound a 99th percentile from above with 95 % confidence: 0.99 ** 368 < 0.025."""


def as_document(run: LocalRun) -> str:
    """One JSON object. Times are milliseconds; `runs_ms` has one entry for each round."""
    document = {
        "model": run.model.name,
        "model_version": run.model.version,
        "backend": run.backend,
        "weights": run.model.metadata.get("weights"),
        "slots": run.model.slots,
        "concurrency": run.concurrency,
        "answers": run.answers,
        "failed_files": sum(bool(one.error) for one in run.files),
        "wall_ms": _ms(run.wall_s),
        "images_per_s": round(run.images_per_s, 3),
        "stages_ms": {name: _statistics(values) for name, values in _by_stage(run.files).items()},
        "images": [_image(one) for one in run.files],
    }
    return json.dumps(document, ensure_ascii=False)


def as_table(run: LocalRun) -> str:
    """A row for each file with its labels and times in milliseconds, then all of them together."""
    answered = [one for one in run.files if one.runs_s]
    stages = _by_stage(run.files)
    rows = [["image", "answer", *stages]]
    rows += [[shown(str(one.file)), _labels(one), *_row(_by_stage([one]), stages, "median")] for one in answered]
    statistics = ["median", "p99", "max"] if run.answers >= MIN_ANSWERS_P99 else ["median", "max"]
    if run.answers > 1:
        rows += [[name, "", *_row(stages, stages, name)] for name in statistics]
    lines = [_title(run), *(_aligned(rows) if answered else [])]
    return "\n".join([*lines, _summary(run)])


def shown(text: str) -> str:
    """As it is, or quoted when it would break the line: a file may be called anything."""
    return text if text.isprintable() else ascii(text)


def _by_stage(files: Sequence[FileResult]) -> dict[str, list[float]]:
    """Seconds of every answer by stage, in the order of the stages."""
    stages: dict[str, list[float]] = {}
    for run in (run for one in files for run in one.runs_s):
        for name, seconds in run.items():
            stages.setdefault(name, []).append(seconds)
    return stages


def _statistics(values: Sequence[float]) -> dict[str, float]:
    """Milliseconds. p99 only of enough values."""
    ordered = sorted(values)
    found = {"mean": sum(ordered) / len(ordered), "median": _percentile(ordered, 0.5)}
    if len(ordered) >= MIN_ANSWERS_P99:
        found["p99"] = _percentile(ordered, 0.99)
    return {name: _ms(value) for name, value in (found | {"max": ordered[-1]}).items()}


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[math.ceil(share * len(ordered)) - 1]


def _image(result: FileResult) -> dict[str, object]:
    if result.error:
        return {"file": str(result.file), "error": result.error}
    runs = [{name: _ms(seconds) for name, seconds in run.items()} for run in result.runs_s]
    return {"file": str(result.file), **result.answer, "runs_ms": runs}


def _title(run: LocalRun) -> str:
    model = run.model
    weights = f", weights: {model.metadata['weights']}" if "weights" in model.metadata else ""
    return shown(f"{model.name} {model.version} on {run.backend}{weights}; times in milliseconds")


def _summary(run: LocalRun) -> str:
    failed = sum(bool(one.error) for one in run.files)
    text = f"{run.answers} answers in {run.wall_s:.3f} s: {run.images_per_s:.1f} images/s, {run.concurrency} at once"
    return f"{text}; {failed} of {len(run.files)} files failed" if failed else text


def _labels(result: FileResult) -> str:
    """`tench 0.912`, the likeliest first; what a backend without labels says is shown as it is."""
    predictions = result.answer.get("predictions")
    if not isinstance(predictions, list):
        return shown(json.dumps(result.answer))
    return shown(", ".join(f"{one['label']} {one['probability']:.3f}" for one in predictions))


def _row(stages: Mapping[str, Sequence[float]], columns: Mapping[str, object], statistic: str) -> list[str]:
    return [f"{_statistics(stages[name])[statistic]:.3f}" if name in stages else "" for name in columns]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Two columns of text to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
