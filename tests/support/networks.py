"""Writes model folders with networks that TensorFlow makes: each answers with the mean of each colour.

A test that asks for one is skipped, by name, where TensorFlow is not installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import pytest

from edge_worker.models.registry import folder_sha256
from tests.support.models import write_model

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="tensorflow is not installed (make tensorflow)",
)
THREADS = 2
"""The same in every test: TensorFlow takes it once in a process."""


def frozen_graph() -> bytes:
    """Input `picture` [N, 4, 6, 3], output `means` [N, 3]."""
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        picture = tf.compat.v1.placeholder(tf.float32, [None, 4, 6, 3], name="picture")
        tf.reduce_mean(picture, [1, 2], name="means")
    return bytes(graph.as_graph_def().SerializeToString())


def unknown_operation() -> bytes:
    """The same graph with an operation that nobody has."""
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef.FromString(frozen_graph())
    definition.node[-1].op = "FancyNewLayer"
    return bytes(definition.SerializeToString())


def write_frozen(folder: Path, **changes: str) -> Path:
    return write_model(folder, frozen_graph(), "NHWC", **{"format": 'format = "tf-frozen"', **changes})


def write_saved_model(folder: Path, **changes: str) -> Path:
    """With weights, so that the folder has several files."""
    import tensorflow as tf

    module = tf.Module()
    module.weight = tf.Variable(1.0)
    module.serve = tf.function(
        lambda picture: {"means": tf.reduce_mean(picture, [1, 2]) * module.weight},
        input_signature=[tf.TensorSpec([None, 4, 6, 3], tf.float32, name="picture")],
    )
    tf.saved_model.save(module, str(folder / "saved"), signatures=module.serve)
    files = {
        path.relative_to(folder / "saved").as_posix(): path.read_bytes()
        for path in (folder / "saved").rglob("*")
        if path.is_file()
    }
    rest = {"file": 'file = "saved"', "sha256": f'sha256 = "{folder_sha256(files)}"'}
    return write_model(folder, b"", "NHWC", **{"format": 'format = "saved-model"', **rest, **changes})


def write_keras(folder: Path, layout: str = "NHWC", **changes: str) -> Path:
    import tensorflow as tf

    sides, order = ((4, 6, 3), "channels_last") if layout == "NHWC" else ((3, 4, 6), "channels_first")
    pool = tf.keras.layers.GlobalAveragePooling2D(data_format=order, name="means")
    network = tf.keras.Sequential([tf.keras.Input(sides, name="picture"), pool])
    folder.mkdir(parents=True, exist_ok=True)
    network.save(folder / "colours.keras")
    rest = {
        "file": 'file = "colours.keras"',
        "sha256": f'sha256 = "{hashlib.sha256((folder / "colours.keras").read_bytes()).hexdigest()}"',
    }
    return write_model(folder, b"", layout, **{"format": 'format = "keras"', **rest, **changes})
