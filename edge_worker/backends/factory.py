"""Opens a backend by its name, and imports its library only then: a worker that echoes loads neither cv2 nor numpy."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from queue import SimpleQueue

from edge_worker.backends.base import Backend
from edge_worker.backends.forwarding import Forwarder
from edge_worker.backends.http.address import UpstreamSettings
from edge_worker.backends.lanes import Source
from edge_worker.backends.settings import BackendSettings
from edge_worker.backoff import Backoff

BACKENDS = ("opencv_dnn", "tensorflow", "echo", "http")

DEVICE = re.compile(r"auto|cpu|gpu:[0-9]{1,3}")
_OPENCV_COMMAND = "pip install '.[worker,opencv]'"
_TENSORFLOW_COMMAND = "pip install '.[worker,opencv,tensorflow]'"


def open_backend(name: str, settings: BackendSettings, make_source: Callable[[], Source] = SimpleQueue) -> Backend:
    """A backend that has not started; `make_source` is for its threads. Raises ValueError for a name or number that is
    not allowed, ImportError with the command to install what is missing."""
    _check(name, settings)
    if name == "echo":
        from edge_worker.backends.echo import EchoBackend

        return EchoBackend(settings)
    opened = _open_opencv if name == "opencv_dnn" else _open_tensorflow
    return opened(settings, make_source)


def open_apart(name: str, settings: BackendSettings, log_format: str, log_level: str) -> Backend:
    """The same, with whatever computes in a process of its own (echo does not compute). Raises ValueError, ImportError;
    what the engine itself lacks is found out when it starts."""
    _check(name, settings)
    if name == "echo":
        return open_backend(name, settings)
    try:
        from edge_worker.backends.engine_process.backend import EngineProcessBackend
        from edge_worker.backends.engine_process.messages import start
        from edge_worker.backends.engine_process.spawn import spawner
    except ImportError as error:
        if error.name != "msgspec":
            raise
        raise ImportError(f"the backend {name} needs msgspec: {_OPENCV_COMMAND}") from error
    told, spawn = start(name, settings), spawner(log_format, log_level)
    return EngineProcessBackend(name, told, spawn, settings.engine_limit_s, Backoff(random.Random()))


def _check(name: str, settings: BackendSettings) -> None:
    """Raises ValueError."""
    if name not in BACKENDS:
        raise ValueError(f"backend = {name!r}: must be one of {', '.join(BACKENDS)}")
    if name == "http":
        raise ValueError("backend = 'http': forwards what comes through a tunnel; use `edge-worker connect`")
    if not 1 <= settings.slots <= 64:
        raise ValueError(f"slots = {settings.slots}: must be from 1 to 64")
    if not 0 <= settings.threads <= 256:
        raise ValueError(f"threads = {settings.threads}: must be from 0 (cores divided by slots) to 256")
    for model_dir in settings.model_dirs:
        if not model_dir.is_dir():
            raise ValueError(f"model_dir = {model_dir}: is not a folder")
    if not DEVICE.fullmatch(settings.device):
        raise ValueError(f"device = {settings.device!r}: must be auto, cpu, or gpu:N with N from 0")
    if settings.require_gpu and (name != "tensorflow" or settings.device == "cpu"):
        raise ValueError(f"require_gpu = True: backend {name!r} on device {settings.device!r} never uses one")


def open_forwarder(settings: UpstreamSettings) -> Forwarder:
    """The backend `http`, not started. Raises ValueError and ImportError as `open_backend` does."""
    try:
        from edge_worker.backends.http.backend import HttpBackend
    except ImportError as error:
        if error.name != "httptools":
            raise
        raise ImportError("the backend http needs httptools: pip install '.[worker,http]'") from error
    return HttpBackend(settings)


def _open_opencv(settings: BackendSettings, make_source: Callable[[], Source]) -> Backend:
    try:
        from edge_worker.backends.image_backend import ImageBackend
        from edge_worker.backends.opencv_dnn import OpenCVLoader
    except ImportError as error:
        if error.name not in ("cv2", "numpy"):
            raise
        raise ImportError(f"the backend opencv_dnn needs OpenCV: {_OPENCV_COMMAND}") from error
    return ImageBackend(OpenCVLoader(), settings, _threads(settings), make_source)


def _open_tensorflow(settings: BackendSettings, make_source: Callable[[], Source]) -> Backend:
    said: list[str] = []
    try:
        from edge_worker.backends.image_backend import ImageBackend
        from edge_worker.backends.native_log import native_lines

        with native_lines(said):
            from edge_worker.backends.tensorflow import TensorFlowLoader
    except ImportError as error:
        if error.name not in ("cv2", "numpy", "tensorflow"):
            raise
        raise ImportError(f"the backend tensorflow needs {error.name}: {_TENSORFLOW_COMMAND}") from error
    return ImageBackend(TensorFlowLoader(settings, said), settings, _threads(settings), make_source)


def _threads(settings: BackendSettings) -> int:
    return settings.threads or max(1, (os.cpu_count() or 1) // settings.slots)
