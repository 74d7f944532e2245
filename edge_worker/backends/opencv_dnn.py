"""OpenCV's own networks (cv2.dnn): frozen TensorFlow graphs and ONNX, on the processor, with no other library.

A net is not safe for two threads: the caller keeps one per slot. Everything but the numbers inside the network is
elsewhere (image.py, preprocess.py, image_backend.py), the same for every engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_worker.backends.base import BackendFailed
from edge_worker.backends.engine import Engine
from edge_worker.models.registry import Content
from edge_worker.models.spec import ModelSpec


class OpenCVNet:
    """One cv2 net. It wants channels first for a TensorFlow graph, whose layout the importer turns."""

    def __init__(self, net: cv2.dnn.Net, spec: ModelSpec, content: bytes) -> None:
        """`content` is what the net was read from. Raises BackendFailed."""
        self._net = net
        self._input = spec.input.name
        self._shape = (spec.input.height, spec.input.width, spec.input.channels)
        self._output = _output_name(net, spec, content)
        self._channels_first = spec.format == "tf-frozen" or spec.input.layout == "NCHW"

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, height, width, channels] -> the output as the network shapes it. Raises BackendFailed."""
        if batch.shape[1:] != self._shape:  # OpenCV does not always look, and then answers with nonsense
            raise BackendFailed(f"a batch of {batch.shape[1:]} was given to a network of {self._shape}")
        blob = np.ascontiguousarray(batch.transpose(0, 3, 1, 2)) if self._channels_first else batch
        try:
            self._net.setInput(blob, self._input)
            return cast("NDArray[np.float32]", self._net.forward(self._output))
        except cv2.error as error:
            raise BackendFailed(f"OpenCV: {_reason(error)}") from error


class OpenCVLoader:
    """Makes nets. Importing this module is what loads cv2."""

    name = "opencv_dnn"
    formats: tuple[str, ...] = ("tf-frozen", "onnx")
    shares_networks = False

    def prepare(self, threads: int) -> None:
        """One number for the whole process: OpenCV has one pool, which one caller at a time may use; the others then
        compute on their own thread."""
        cv2.setNumThreads(threads)

    def describe(self) -> Mapping[str, object]:
        return {"device": "cpu"}

    def load(self, spec: ModelSpec, content: Content) -> Engine:
        """Raises BackendFailed with OpenCV's reason."""
        assert isinstance(content, bytes), spec.format
        buffer = np.frombuffer(content, np.uint8)
        read = cv2.dnn.readNetFromTensorflow if spec.format == "tf-frozen" else cv2.dnn.readNetFromONNX
        try:
            return OpenCVNet(read(buffer), spec, content)
        except cv2.error as error:
            raise BackendFailed(f"OpenCV cannot load it as {spec.format}: {_reason(error)}") from error


def _output_name(net: cv2.dnn.Net, spec: ModelSpec, content: bytes) -> str:
    """What OpenCV calls the output. Raises BackendFailed when the description leaves it open.

    The importer removes Identity nodes. A name that is in the graph (it stands in its bytes) may so be gone from the
    net: the only output is then meant.
    """
    outputs = list(net.getUnconnectedOutLayersNames())
    name = spec.output.name
    if name in outputs or name in net.getLayerNames():
        return name
    is_removed = spec.format == "tf-frozen" and name.partition(":")[0].encode() in content
    if len(outputs) == 1 and (not name or is_removed):
        return str(outputs[0])
    raise BackendFailed(f"output.name = {name!r}: the network's outputs are {', '.join(outputs)[:300]}")


def _reason(error: cv2.error) -> str:
    """OpenCV's message without its build paths, on one line."""
    text = str(getattr(error, "err", "")) or str(error)
    return " ".join(text.split())[:300]
