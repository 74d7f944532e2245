"""What is said of a network's probabilities: names, a yes or no, or the numbers, and that weights are random."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from edge_worker.backends.answers import to_answer
from edge_worker.backends.question import Group, Labels, Question, Raw
from edge_worker.models.spec import parse_spec
from tests.support.models import DESCRIPTION

SPEC = parse_spec(DESCRIPTION.format(sha256="0" * 64, layout="NHWC"))
NAMES = ["a", "b", "ć", "d"]
ROWS = np.array([[0.1, 0.4, 0.1, 0.4]], np.float32)


def said(wanted: Labels | Raw | Group, weights: str = "", batch_size: int | None = None) -> dict[str, object]:
    answer = to_answer(ROWS, Question(wanted), dataclasses.replace(SPEC, weights=weights), NAMES, batch_size)
    assert (answer.content_type, answer.metadata) == ("application/json", ())
    parsed = json.loads(answer.body)
    assert isinstance(parsed, dict)
    return parsed


def test_the_answer_has_the_likeliest_first() -> None:
    """Labels and indexes go with their probabilities; of equals the lower index is first."""
    assert said(Labels(3)) == {
        "model": "colours",
        "model_version": "3",
        "predictions": [
            {"index": 1, "label": "b", "probability": 0.4},
            {"index": 3, "label": "d", "probability": 0.4},
            {"index": 0, "label": "a", "probability": 0.1},
        ],
    }


def test_a_top_over_the_number_of_classes_gives_all() -> None:
    """There is nothing more to say than every class."""
    predictions = said(Labels(99))["predictions"]
    assert isinstance(predictions, list)
    assert len(predictions) == 4


@pytest.mark.parametrize(
    ("indices", "probability", "answer"), [((1,), 0.4, False), ((0, 1), 0.5, True), ((1, 2, 3), 0.9, True)]
)
def test_a_group_is_there_when_its_sum_is_half(indices: tuple[int, ...], probability: float, answer: bool) -> None:
    """The sum is of the group's classes, and one half is enough."""
    assert said(Group("letters", indices)) == {
        "model": "colours",
        "model_version": "3",
        "query": "letters",
        "answer": answer,
        "probability": probability,
    }


@pytest.mark.parametrize("wanted", [Labels(), Group("letters", (0,))])
def test_random_weights_are_in_every_answer(wanted: Labels | Group) -> None:
    """A model that was never trained says so; one that was does not."""
    assert said(wanted, weights="random (seed 7)")["weights"] == "random"
    assert "weights" not in said(wanted, weights="Apache-2.0")


def test_the_size_of_the_batch_is_told() -> None:
    """Where the worker makes batches."""
    assert said(Labels(), batch_size=3)["batch_size"] == 3
    assert "batch_size" not in said(Labels())


def test_raw_numbers_are_a_tensor() -> None:
    """Little-endian and row-major, with type and shape beside them, whatever array they come from."""
    rows = np.asfortranarray(np.array([[0.25, 0.5, 0.25], [0.125, 0.75, 0.125]], np.float32))
    answer = to_answer(rows, Question(Raw(), 2), SPEC, NAMES[:3])
    assert answer.content_type == "application/vnd.tensor"
    assert answer.metadata == (("tensor-datatype", "FP32"), ("tensor-shape", "2,3"))
    np.testing.assert_array_equal(np.frombuffer(answer.body, "<f4").reshape(2, 3), rows)
