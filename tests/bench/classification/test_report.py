"""What is printed and what is written of a walk: nothing is left out, and nobody's text moves the cursor."""

from __future__ import annotations

import io
import json

from rich.console import Console

from bench.classification.labels import Truth
from bench.classification.report import Walk, as_json, lines, show
from bench.classification.score import Result, score
from gateway.client import Prediction

RESULTS = [
    Result("b.png", [Prediction(2, "dog", 0.75), Prediction(1, "cat", 0.2)], "w2", truth=Truth(1, "cat")),
    Result("a.png", [Prediction(1, "cat", 0.9)], "w1", truth=Truth(1, "cat")),
    Result("c.png", [Prediction(3, "fish", 0.5)], "w1", truth=Truth(1, "cat"), tries=2),
    Result("d.png", [Prediction(3, "fish", 0.5)], "w1"),
    Result("e\t\x1b[2J.png", reason="bad_input", detail="no\nimage"),
]


def walk() -> Walk:
    return Walk("http://g/inference/m", 7, RESULTS, 2.0, 4_000_000, 3, 1.5, score(RESULTS, 10))


def test_a_line_for_each_picture_by_name() -> None:
    """Label, probability and verdict; a failure with its reason; control characters are shown as what they are."""
    assert list(lines(RESULTS)) == [
        "a.png\tcat\t0.9000\tright",
        "b.png\tdog\t0.7500\tin top 5: cat",
        "c.png\tfish\t0.5000\twrong: cat",
        "d.png\tfish\t0.5000",
        "e\ufffd\ufffd[2J.png\tfailed: bad_input\tno\ufffdimage",
    ]


def test_json_has_everything() -> None:
    """Counts add up to the folder's pictures, and each result is there with its tries."""
    said = json.loads(json.dumps(as_json(walk())))
    assert (said["pictures"], said["classified"]) == (7, 4)
    assert said["failures"] == {"not_sent": 2, "bad_input": 1}
    assert said["images_per_second"] == 2.0
    assert said["workers"] == {"w1": 3, "w2": 1}
    assert (said["score"]["labelled"], said["score"]["top1"]["count"], said["score"]["top5"]["count"]) == (3, 1, 2)
    assert [one["file"] for one in said["results"]] == sorted(result.name for result in RESULTS)
    assert [one["tries"] for one in said["results"]] == [1, 1, 2, 1, 1]
    assert said["results"][1]["is_top1"] is False
    assert said["results"][1]["is_top5"] is True
    assert "truth" not in said["results"][3]


def test_the_table_says_rates_shares_and_confusions() -> None:
    """In words that a person reads."""
    file = io.StringIO()
    show(Console(file=file, width=120, markup=False, emoji=False), walk())
    text = file.getvalue()
    assert "4 of 7 pictures in 2.00 s: 2.0 images/s, 2.0 MB/s, 3 requests, 1.5 s of waits" in text
    assert "2 not_sent: the run ended before" in text
    assert "1 bad_input: e\ufffd\ufffd[2J.png: no\ufffdimage" in text
    assert "top-1  1/3 = 33.3 %" in text
    assert "taken for another" in text
