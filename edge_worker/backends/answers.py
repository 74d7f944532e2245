"""From a network's probabilities to what a call is answered with: names, a yes or no, or the numbers themselves.

The same for every engine. Knows numpy and a model's description; refuses nothing: what a call may ask was checked when
it was read (question.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_worker.backends.base import Answer
from edge_worker.backends.question import DATATYPE, FP32, SHAPE, TENSOR, Group, Labels, Question
from edge_worker.models.spec import ModelSpec

YES = 0.5
"""The least summed probability at which a picture shows one of a group: more likely than not."""

Rows = NDArray[np.float32]
"""[N, classes]: probabilities."""

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def to_answer(
    rows: Rows, question: Question, spec: ModelSpec, labels: Sequence[str], batch_size: int | None = None
) -> Answer:
    """Without its durations. `batch_size` is how many pictures the network was given together; None where it is always
    one, and for a tensor, which is a batch of its own."""
    wanted = question.wanted
    match wanted:
        case Labels():
            found: dict[str, object] = {"predictions": likeliest(rows[0], labels, wanted.top)}
        case Group():
            found = in_group(rows[0], wanted)
        case _:
            return _raw(rows)
    answer: dict[str, object] = {"model": spec.name, "model_version": spec.version, **found}
    if spec.has_random_weights:
        answer["weights"] = "random"
    if batch_size is not None:
        answer["batch_size"] = batch_size
    return Answer(_to_json(answer).encode())


def likeliest(row: Rows, labels: Sequence[str], top: int) -> list[dict[str, object]]:
    """The `top` likeliest classes, the likeliest first, equals by index."""
    order = np.argsort(-row, kind="stable")[:top]
    return [{"index": int(at), "label": labels[at], "probability": round(float(row[at]), 6)} for at in order]


def in_group(row: Rows, group: Group) -> dict[str, object]:
    """Yes or no, and the sum that it stands for."""
    probability = round(float(row[list(group.indices)].sum(dtype=np.float64)), 6)
    return {"query": group.name, "answer": probability >= YES, "probability": probability}


def _raw(rows: Rows) -> Answer:
    count, classes = rows.shape
    metadata = ((DATATYPE, FP32), (SHAPE, f"{count},{classes}"))
    return Answer(rows.astype("<f4", copy=False).tobytes(), TENSOR, metadata=metadata)
