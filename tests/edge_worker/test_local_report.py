"""A local run as a table and as a document."""

from __future__ import annotations

import json
from pathlib import Path

from edge_worker.backends.base import ServedModel
from edge_worker.local import FileResult, LocalRun
from edge_worker.local_report import MIN_ANSWERS_P99, as_document, as_table

MODEL = ServedModel("digits", "2", 1, metadata={"weights": "by hand"})


def answered(name: str, *totals_s: float) -> FileResult:
    answer = {"model": "digits", "predictions": [{"index": 7, "label": "seven", "probability": 0.75}]}
    return FileResult(Path(name), answer, "", [{"inference": total / 2, "total": total} for total in totals_s])


def made(*files: FileResult, wall_s: float = 2.0) -> LocalRun:
    return LocalRun("opencv_dnn", MODEL, 3, files, wall_s)


def test_the_table() -> None:
    """A row for each file with the median of its rounds, then all answers together, aligned."""
    files = answered("a.jpg", 0.010, 0.020, 0.060), answered("longer.jpg", 0.030), FileResult(Path("x"), {}, "bad")
    assert as_table(made(*files)).splitlines() == [
        "digits 2 on opencv_dnn, weights: by hand; times in milliseconds",
        "image       answer       inference   total",
        "a.jpg       seven 0.750     10.000  20.000",
        "longer.jpg  seven 0.750     15.000  30.000",
        "median                      10.000  20.000",
        "max                         30.000  60.000",
        "4 answers in 2.000 s: 2.0 images/s, 3 at once; 1 of 3 files failed",
    ]


def test_the_document() -> None:
    """Every single time is in it, in milliseconds, and what failed with its reason."""
    document = json.loads(as_document(made(answered("a.jpg", 0.010, 0.020), FileResult(Path("x"), {}, "bad"))))
    assert (document["model"], document["model_version"], document["backend"]) == ("digits", "2", "opencv_dnn")
    assert (document["weights"], document["slots"], document["concurrency"]) == ("by hand", 1, 3)
    assert (document["answers"], document["failed_files"]) == (2, 1)
    assert (document["wall_ms"], document["images_per_s"]) == (2000.0, 1.0)
    assert document["stages_ms"]["total"] == {"mean": 15.0, "median": 10.0, "max": 20.0}
    good, bad = document["images"]
    assert good["runs_ms"] == [{"inference": 5.0, "total": 10.0}, {"inference": 10.0, "total": 20.0}]
    assert good["predictions"][0]["label"] == "seven"
    assert bad == {"file": "x", "error": "bad"}


def test_too_few_answers_have_no_p99() -> None:
    """The 99th percentile is the nearest rank of enough answers, and is not made up of fewer."""
    times_s = [number / 1000 for number in range(1, MIN_ANSWERS_P99 + 1)]
    enough, few = made(answered("a", *times_s)), made(answered("a", *times_s[1:]))
    assert json.loads(as_document(enough))["stages_ms"]["total"]["p99"] == 365.0
    assert "p99" not in json.loads(as_document(few))["stages_ms"]["total"]
    assert "p99" in as_table(enough)
    assert "p99" not in as_table(few)


def test_a_single_answer_is_its_own_summary() -> None:
    """One answer needs no median of itself."""
    assert len(as_table(made(answered("a", 0.01))).splitlines()) == 4


def test_without_an_answer_there_is_no_table() -> None:
    """Where every file failed, the last line says so."""
    lines = as_table(made(FileResult(Path("x"), {}, "bad"))).splitlines()
    assert lines[1:] == ["0 answers in 2.000 s: 0.0 images/s, 3 at once; 1 of 1 files failed"]


def test_a_backend_without_labels() -> None:
    """What echo answers is shown as it is."""
    echo = FileResult(Path("a"), {"bytes": 3}, "", [{"total": 0.01}])
    assert '{"bytes": 3}' in as_table(made(echo))


def test_a_file_name_breaks_no_line() -> None:
    """A name with a line break or an escape sequence is quoted."""
    assert r"'a\nb\x1b'" in as_table(made(answered("a\nb\x1b", 0.01)))
