"""TensorFlow's networks: frozen graphs, SavedModels and Keras files, on one GPU or on the processor.

The one file that imports TensorFlow. Each format becomes one function from a batch to the outputs, which several
threads may call at once, so one network answers all slots of a model. A model is a program, whatever its checksum says:
this loads no Python out of it, and yet only a model that is trusted should be served.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from edge_worker.backends.base import BackendFailed
from edge_worker.backends.engine import Engine
from edge_worker.backends.native_log import gpu_reason, native_lines
from edge_worker.backends.settings import BackendSettings
from edge_worker.models.registry import Content
from edge_worker.models.spec import ModelSpec

Run = Callable[[Any], Any]
"""From a tensor to a tensor; TensorFlow has no types."""

_SIGNATURE = "serving_default"
_FAILURES = (tf.errors.OpError, ValueError, TypeError, KeyError, ImportError, OSError)
"""What TensorFlow and Keras raise for a file or a batch that they cannot take."""

log = logging.getLogger("edge_worker.tensorflow")


class TensorFlowNet:
    """One network, for any number of threads."""

    def __init__(self, run: Run, spec: ModelSpec) -> None:
        self._run = run
        self._shape = (spec.input.height, spec.input.width, spec.input.channels)
        self._channels_first = spec.input.layout == "NCHW"

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, height, width, channels] -> the output as the network shapes it. Raises BackendFailed."""
        if batch.shape[1:] != self._shape:  # some kernels do not look, and then answer with nonsense
            raise BackendFailed(f"a batch of {batch.shape[1:]} was given to a network of {self._shape}")
        values = batch.transpose(0, 3, 1, 2) if self._channels_first else batch
        try:
            return cast("NDArray[np.float32]", self._run(tf.constant(values)).numpy().astype(np.float32, copy=False))
        except tf.errors.ResourceExhaustedError as error:
            raise BackendFailed(f"TensorFlow: out of memory with a batch of {len(batch)}: {_reason(error)}") from error
        except _FAILURES as error:
            raise BackendFailed(f"TensorFlow: {_reason(error)}") from error


class TensorFlowLoader:
    """Makes networks. Importing this module is what loads TensorFlow."""

    name = "tensorflow"
    formats: tuple[str, ...] = ("tf-frozen", "saved-model", "keras")
    shares_networks = True

    def __init__(self, settings: BackendSettings, said: Sequence[str] = ()) -> None:
        """`said` is what TensorFlow logged while it was imported: the reason for no GPU is there, or comes later."""
        self._settings = settings
        self._said = list(said)
        self._device: dict[str, object] = {}

    def prepare(self, threads: int) -> None:
        """Chooses the device and sets the threads, for the whole process. Raises ValueError when --require-gpu or
        --device cannot be fulfilled."""
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            self._choose_device()
        except RuntimeError as error:  # TensorFlow computes already, with other settings
            raise ValueError(f"TensorFlow cannot be set up: {error}") from error
        if self._settings.mixed_precision:
            self._mix_precision()

    def describe(self) -> Mapping[str, object]:
        """The device, and without a GPU the reason."""
        chosen = {"xla": self._settings.xla, "mixed_precision": self._settings.mixed_precision}
        return {**self._device, **{name: True for name, is_on in chosen.items() if is_on}}

    def load(self, spec: ModelSpec, content: Content) -> Engine:
        """Raises BackendFailed with TensorFlow's reason."""
        try:
            run = _OPENERS[spec.format](spec, content)
        except _FAILURES as error:
            raise BackendFailed(f"TensorFlow cannot load it: {_reason(error)}") from error
        if self._settings.xla:
            run = tf.function(run, jit_compile=True, autograph=False)
        return TensorFlowNet(run, spec)

    def _choose_device(self) -> None:
        with native_lines(self._said):
            gpus = tf.config.list_physical_devices("GPU")
        wanted = self._settings.device
        if wanted == "cpu":
            tf.config.set_visible_devices([], "GPU")
            self._device = {"device": "cpu"}
        elif gpus:
            self._use_gpu(gpus, 0 if wanted == "auto" else int(wanted.removeprefix("gpu:")))
        else:
            self._do_without_gpu()

    def _use_gpu(self, gpus: Sequence[Any], index: int) -> None:
        if index >= len(gpus):
            raise ValueError(f"device = gpu:{index}: TensorFlow finds {len(gpus)}, counted from gpu:0")
        tf.config.set_visible_devices(gpus[index], "GPU")
        tf.config.experimental.set_memory_growth(gpus[index], True)  # or the first model would take all of it
        name = tf.config.experimental.get_device_details(gpus[index]).get("device_name", "unnamed")
        self._device = {"device": f"gpu:{index}", "device_name": str(name)}
        log.info("computing on a GPU", extra=self._device)

    def _do_without_gpu(self) -> None:
        reason = gpu_reason(self._said) or "TensorFlow finds none and gives no reason"
        if not tf.test.is_built_with_gpu_support():
            reason = "this TensorFlow is built without GPU support"
        if self._settings.require_gpu or self._settings.device != "auto":
            raise ValueError(f"there is no GPU, and one is required: {reason}")
        self._device = {"device": "cpu", "no_gpu": reason[:300]}
        log.warning("computing on the processor: there is no GPU", extra={"reason": reason})

    def _mix_precision(self) -> None:
        """Lets the graph optimizer turn what tensor cores take into float16, whatever the model's format."""
        if self._device["device"] == "cpu":
            log.warning("mixed precision has no effect without a GPU")
            return
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision": True})


def _open_frozen(spec: ModelSpec, content: Content) -> Run:
    """A GraphDef as one function (TensorFlow's guide "Migrate to TF2", frozen graphs)."""
    assert isinstance(content, bytes)
    try:
        definition = tf.compat.v1.GraphDef.FromString(content)
    except DecodeError as error:
        raise BackendFailed("TensorFlow cannot load it: it is no GraphDef, or only a part of one") from error
    wrapped = tf.compat.v1.wrap_function(lambda: tf.compat.v1.import_graph_def(definition, name=""), [])
    operations = wrapped.graph.get_operations()
    inputs = [one.outputs[0] for one in operations if one.type == "Placeholder"]
    ends = [out for one in operations for out in one.outputs if not out.consumers()]
    taken = _element(wrapped.graph, spec.input.name, inputs, "input")
    return cast(Run, wrapped.prune(taken, _element(wrapped.graph, spec.output.name, ends, "output")))


def _element(graph: Any, name: str, candidates: Sequence[Any], side: str) -> Any:
    """The graph's tensor of that name, or the only candidate for an empty one. Raises BackendFailed."""
    if not name:
        return candidates[_only(name, [one.name for one in candidates], side)]
    try:
        return graph.as_graph_element(name if ":" in name else f"{name}:0", allow_operation=False)
    except (KeyError, ValueError) as error:
        shown = ", ".join(one.op.name for one in candidates)[:300]
        raise BackendFailed(f"{side}.name = {name!r}: the network's {side}s are {shown}") from error


def _open_saved_model(spec: ModelSpec, content: Content) -> Run:
    assert not isinstance(content, bytes)
    with tempfile.TemporaryDirectory(prefix="saved-model-") as folder:
        for path, data in content.items():
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path).write_bytes(data)
        model = _without_place(tf.saved_model.load, folder)
    if _SIGNATURE not in model.signatures:
        raise BackendFailed(f"the SavedModel has no signature {_SIGNATURE!r}")
    signature = model.signatures[_SIGNATURE]
    inputs, outputs = list(signature.structured_input_signature[1]), list(signature.structured_outputs)
    taken = inputs[_only(spec.input.name, inputs, "input")]
    given = outputs[_only(spec.output.name, outputs, "output")]

    def run(batch: Any, _model: object = model) -> Any:  # the signature alone would let the model's variables go
        return signature(**{taken: batch})[given]

    return run


def _open_keras(spec: ModelSpec, content: Content) -> Run:
    """Keras refuses a file with Python in it (its safe mode)."""
    assert isinstance(content, bytes)
    with tempfile.TemporaryDirectory(prefix="keras-") as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(content)
        model = _without_place(lambda place: tf.keras.models.load_model(place, compile=False), str(path))
    functional = tf.keras.Model(model.inputs, model.outputs)  # a Sequential does not tell its outputs' names
    if len(functional.inputs) != 1:
        raise BackendFailed(f"the network has {len(functional.inputs)} inputs: {[one.name for one in model.inputs]}")
    _only(spec.input.name, [one.name for one in functional.inputs], "input")
    given = _only(spec.output.name, list(functional.output_names), "output")
    network = tf.keras.Model(functional.inputs, functional.outputs[given])
    sides = [None, *spec.input.shape[1:]]
    return cast(
        Run,
        tf.function(lambda batch: network(batch, training=False), input_signature=[tf.TensorSpec(sides, tf.float32)]),
    )


_OPENERS: Mapping[str, Callable[[ModelSpec, Content], Run]] = {
    "tf-frozen": _open_frozen,
    "saved-model": _open_saved_model,
    "keras": _open_keras,
}


def _only(name: str, names: Sequence[str], side: str) -> int:
    """Where the name is among those there are; an empty one means the only one. Raises BackendFailed."""
    if name in names:
        return names.index(name)
    if not name and len(names) == 1:
        return 0
    raise BackendFailed(f"{side}.name = {name!r}: the network's {side}s are {', '.join(names)[:300]}")


def _without_place(load: Callable[[str], Any], place: str) -> Any:
    """Loads from a copy of the verified bytes; the copy's place is nothing that a reader of the error could look at."""
    try:
        return load(place)
    except _FAILURES as error:
        raise BackendFailed(f"TensorFlow cannot load it: {_reason(error).replace(place, 'the file')}") from error


def _reason(error: Exception) -> str:
    """The message on one line, without the graph around it."""
    text = str(getattr(error, "message", "")) or str(error) or type(error).__name__
    return " ".join(text.split())[:400]
