"""From a picture to the batch that a network takes, and from its numbers to named answers: the same for every engine.

Two engines that share these lines can differ only by their own arithmetic. Knows numpy and cv2's resize; knows no
network, no thread and no clock.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_worker.models.spec import InputSpec

Pixels = NDArray[np.uint8]
"""[height, width, 3] RGB."""
Batch = NDArray[np.float32]

_INTERPOLATION = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR}


def to_batch(pixels: Pixels, spec: InputSpec) -> Batch:
    """One picture as float32 [1, height, width, channels]: resized, in the network's colour order, scaled.

    Always channels last: an engine that wants them first turns the batch itself.
    """
    resized = _resized(_cropped(pixels, spec) if spec.resize == "crop" else pixels, spec)
    values = resized.astype(np.float32)
    values -= np.asarray(spec.mean, np.float32)
    values *= np.asarray(spec.scale, np.float32)
    return values.reshape(1, spec.height, spec.width, spec.channels)


def to_probabilities(outputs: NDArray[np.float32], softmax_done: bool) -> NDArray[np.float32]:
    """[N, classes] from whatever trailing sides of 1 the network adds. Raises ValueError for what is no probability."""
    rows = outputs.reshape(outputs.shape[0], -1).astype(np.float32, copy=False)
    if not np.isfinite(rows).all():
        raise ValueError("the network's output is not finite")
    if softmax_done:
        return rows
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    return cast("NDArray[np.float32]", powers / powers.sum(axis=1, keepdims=True))


def to_json(
    model: str, version: str, row: NDArray[np.float32], labels: Sequence[str], top: int, batch_size: int | None = None
) -> bytes:
    """The answer for one picture: the `top` likeliest classes, the likeliest first, equals by index.

    `batch_size` is how many pictures the network was given together; None where it is always one.
    """
    order = np.argsort(-row, kind="stable")[:top]
    predictions = [{"index": int(i), "label": labels[i], "probability": round(float(row[i]), 6)} for i in order]
    answer: dict[str, object] = {"model": model, "model_version": version, "predictions": predictions}
    if batch_size is not None:
        answer["batch_size"] = batch_size
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


def _cropped(pixels: Pixels, spec: InputSpec) -> Pixels:
    """The largest centred part that has the input's proportions."""
    height, width = pixels.shape[:2]
    crop_w = min(width, max(1, round(height * spec.width / spec.height)))
    crop_h = min(height, max(1, round(width * spec.height / spec.width)))
    left, top = (width - crop_w) // 2, (height - crop_h) // 2
    return pixels[top : top + crop_h, left : left + crop_w]


def _resized(pixels: Pixels, spec: InputSpec) -> Pixels:
    resized = cv2.resize(pixels, (spec.width, spec.height), interpolation=_INTERPOLATION[spec.interpolation])
    if spec.colour == "GRAY":
        resized = cv2.cvtColor(resized, cv2.COLOR_RGB2GRAY)
    elif spec.colour == "BGR":
        resized = cv2.cvtColor(resized, cv2.COLOR_RGB2BGR)
    return cast(Pixels, resized)
