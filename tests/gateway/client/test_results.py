"""What is made of answers and of their Server-Timing, of every shape that a server may send."""

from __future__ import annotations

import pytest

from gateway.client.errors import ClientError
from gateway.client.results import (
    GroupAnswer,
    Outcome,
    Prediction,
    Reading,
    Result,
    Timing,
    result_of,
    stages_of,
    stages_of_header,
)

CAT = {
    "model": "m", "model_version": "3", "worker": "w1", "request_id": "r.0", "batch_size": 4, "weights": "trained",
    "predictions": [
        {"index": 1, "label": "cat", "probability": 0.75},
        {"index": 2, "label": "dog", "probability": 0.2},
    ],
    "timing_ms": {"inference": 4.5, "total": 8.25},
}  # fmt: skip


def read(entry: object, *, stages_ms: dict[str, float] | None = None, is_shared: bool = False) -> Outcome:
    return result_of("a.png", entry, Reading("r", Timing(stages_ms or {}, 10.0, 3.0, is_shared), 2))


def test_an_answer_is_typed_whole() -> None:
    """Labels, who answered, under which id, of which model and weights, and the anatomy of the time."""
    result = read(CAT)
    assert isinstance(result, Result)
    assert result.predictions == (Prediction(1, "cat", 0.75), Prediction(2, "dog", 0.2))
    assert (result.label, result.index, result.probability) == ("cat", 1, 0.75)
    assert (result.name, result.model, result.version, result.weights) == ("a.png", "m", "3", "trained")
    assert (result.worker, result.request_id, result.batch_size, result.tries) == ("w1", "r.0", 4, 2)
    assert dict(result.timing.stages_ms) == {"inference": 4.5, "total": 8.25}
    assert (result.timing.client_ms, result.timing.waited_ms, result.timing.gateway_ms) == (10.0, 3.0, 8.25)
    assert result.timing.network_ms == pytest.approx(1.75)
    assert result.document is CAT
    assert result.group is None


def test_a_question_is_answered_with_yes_or_no() -> None:
    """The group's name and its summed probability, and no labels; half of an answer is none."""
    result = read({"model": "m", "query": "dog", "answer": False, "probability": 0.25})
    assert isinstance(result, Result)
    assert (result.group, result.predictions, result.probability) == (GroupAnswer("dog", False, 0.25), (), 0.25)
    assert isinstance(read({"query": "dog"}), ClientError)


def test_the_network_has_what_is_left_of_one_picture_alone() -> None:
    """Without the gateway's total, or for a picture of a batch, nothing is claimed; it is never below 0."""
    assert Timing({}, 10.0).network_ms is None
    assert Timing({"total": 4.0}, 10.0, is_shared=True).network_ms is None
    assert Timing({"total": 14.0}, 10.0).network_ms == 0


def test_the_times_of_the_header_come_first() -> None:
    """It is whole when the answer's own are not; a batch's entries have their own alone."""
    result = read(CAT, stages_ms={"total": 2.0})
    assert isinstance(result, Result)
    assert result.timing.gateway_ms == 2.0


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        (7, "bad_answer"),
        ({"model": "echo", "bytes": 7}, "no_predictions"),
        ({"predictions": [{"index": "x", "label": "cat", "probability": 1}]}, "no_predictions"),
        ({"predictions": 7}, "no_predictions"),
        ({"predictions": []}, "no_predictions"),
        ({"status": 400, "code": "bad_input", "detail": "not an image"}, "bad_input"),
    ],
)
def test_what_is_no_answer_is_an_error_with_a_name(entry: object, code: str) -> None:
    """Whatever a server says instead of labels, with the request's id."""
    error = read(entry)
    assert isinstance(error, ClientError)
    assert (error.code, error.request_id) == (code, "r")


def test_members_of_other_types_are_left_out() -> None:
    """A stranger's JSON: what is no text is none, what is no number is no stage."""
    odd = {**CAT, "worker": 7, "batch_size": "4", "timing_ms": {"a": "x", "b": 2, "c": float("inf")}}
    result = read(odd)
    assert isinstance(result, Result)
    assert (result.worker, result.batch_size, dict(result.timing.stages_ms)) == ("", None, {"b": 2.0})
    assert stages_of([1]) == {}


@pytest.mark.parametrize(
    ("header", "stages"),
    [
        ("auth;dur=0.021, total;dur=8.250", [("auth", 0.021), ("total", 8.25)]),
        ('miss, db;desc="x";dur=53, app;dur="47.2"', [("db", 53), ("app", 47.2)]),
        ("a;dur=fast, b;dur=1", [("b", 1)]),
        ("", []),
        (",".join(f"s{n};dur=1" for n in range(100)), [(f"s{n}", 1) for n in range(32)]),
    ],
)
def test_server_timing(header: str, stages: list[tuple[str, float]]) -> None:
    """Names and milliseconds; what has no duration, or none that is a number, is left out; 32 entries are enough."""
    assert list(stages_of_header(header).items()) == stages
