"""From a picture or a ready tensor to the batch that a network takes, and to probabilities: the same for every engine.

Two engines that share these lines can differ only by their own arithmetic. Knows numpy and cv2's resize; knows no
network, no thread and no clock.
"""

from __future__ import annotations

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


def from_tensor(body: bytes | memoryview, spec: InputSpec) -> Batch:
    """Ready numbers of one or more pictures, as `spec.shape` has them, as float32 [N, height, width, channels].

    `body` is little-endian and row-major, and its length was checked. Raises ValueError for what is no number: an
    engine would answer with as little, and be blamed for it.
    """
    batch = np.frombuffer(body, "<f4").astype(np.float32, copy=False).reshape(spec.shape)
    if not np.isfinite(batch).all():
        raise ValueError("the tensor has values that are not finite")
    return batch if spec.layout == "NHWC" else batch.transpose(0, 2, 3, 1)


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
