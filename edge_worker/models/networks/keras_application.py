"""The classifiers of keras.applications: with published weights from a file, or with random ones.

Builds and loads; it downloads nothing. The architecture is Keras's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from edge_worker.models.networks.random_weights import Array, drawn_kernel, drawn_pictures, fitted_logits


def published(architecture: str, weights: Path) -> Any:
    """The Keras model with the weights of a file. Raises ValueError for a file that is not its weights."""
    try:
        return getattr(tf.keras.applications, architecture)(weights=str(weights))
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(f"{weights}: Keras cannot read {architecture} weights from it: {error}") from error


def random(architecture: str, seed: int, mean: Sequence[float], scale: Sequence[float]) -> Any:
    """The Keras model with weights drawn from the seed. A pixel reaches the network as (pixel - mean) * scale."""
    rng = np.random.default_rng(seed)
    with tf.device("CPU"):  # a GPU rounds otherwise, and the seed would mean another network there
        model = getattr(tf.keras.applications, architecture)(weights=None)
        pictures = drawn_pictures(rng, model.input_shape[1], mean, scale)
        for variable in model.weights:
            variable.assign(_drawn(rng, variable))
        _fit_normalisation(model, pictures)
        _fit_logits(model, pictures)
    return model


def keras_bytes(model: Any, path: Path) -> bytes:
    """The `.keras` file of a model, by way of `path`, which must end in .keras."""
    model.save(path)
    return path.read_bytes()


def _drawn(rng: np.random.Generator, variable: Any) -> Array:
    shape = tuple(variable.shape)
    if variable.name.endswith("kernel"):
        is_depthwise = variable.name == "depthwise_kernel" or (len(shape) == 4 and "depthwise" in variable.path)
        return drawn_kernel(rng, shape, int(np.prod(shape[:2] if is_depthwise else shape[:-1])))
    start = 1.0 if variable.name in ("gamma", "moving_variance") else 0.0
    return np.full(shape, start, np.float32)


def _fit_normalisation(model: Any, pictures: Array) -> None:
    """Every batch normalisation takes the pictures' own mean and variance for the moving ones, in one pass."""
    layers = [one for one in model.layers if isinstance(one, tf.keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    model(pictures, training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def _fit_logits(model: Any, pictures: Array) -> None:
    last = model.layers[-1]
    features = tf.keras.Model(model.input, last.input)(pictures, training=False).numpy()
    kernel, bias = last.get_weights()
    factor, shift = fitted_logits(features @ kernel + bias)
    last.set_weights([kernel * factor, bias * factor + shift])
