"""GoogLeNet v1 with random weights, as the frozen graph that is published trained: the same layers, widths and names.

The architecture is that of Szegedy et al. 2015, "Going deeper with convolutions", with the widths of the published file
`tensorflow_inception_graph.pb`. The two auxiliary heads are left out: they exist for training, and no answer uses them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edge_worker.models.networks.random_weights import Array, drawn_kernel, drawn_pictures, fitted, fitted_logits

SIDE_PX = 224
CLASSES = 1008
INPUT, OUTPUT = "input", "softmax2"

MODULES = (
    ("mixed3a", 64, 96, 128, 16, 32, 32),
    ("mixed3b", 128, 128, 192, 32, 96, 64),
    ("maxpool4",),
    ("mixed4a", 192, 96, 204, 16, 48, 64),
    ("mixed4b", 160, 112, 224, 24, 64, 64),
    ("mixed4c", 128, 128, 256, 24, 64, 64),
    ("mixed4d", 112, 144, 288, 32, 64, 64),
    ("mixed4e", 256, 160, 320, 32, 128, 128),
    ("maxpool10",),
    ("mixed5a", 256, 160, 320, 48, 128, 128),
    ("mixed5b", 384, 192, 384, 48, 128, 128),
)
"""Name and channels: 1x1; 3x3 bottleneck, 3x3; 5x5 bottleneck, 5x5; after the pool. A lone name is a halving pool."""

Parameters = dict[str, Array]
"""NAME_w and NAME_b of each layer."""
Linear = Callable[..., Any]
"""(name, x, side, channels, stride) -> the convolution with its bias; side 0 is the fully connected layer."""


def random_googlenet(seed: int, mean: Sequence[float], scale: Sequence[float]) -> bytes:
    """The serialized GraphDef. A pixel reaches the network as (pixel - mean) * scale."""
    rng = np.random.default_rng(seed)
    parameters: Parameters = {}
    pictures = drawn_pictures(rng, SIDE_PX, mean, scale)
    with tf.device("CPU"):  # a GPU rounds otherwise, and the seed would mean another network there
        _network(tf.constant(pictures), _drawing(rng, parameters))
    graph = tf.Graph()
    with graph.as_default():
        image = tf.compat.v1.placeholder(tf.float32, [None, SIDE_PX, SIDE_PX, 3], name=INPUT)
        tf.nn.softmax(_network(image, _using(parameters)), name=OUTPUT)
    frozen: bytes = graph.as_graph_def().SerializeToString(deterministic=True)
    return frozen


def _drawing(rng: np.random.Generator, parameters: Parameters) -> Linear:
    """Layers that draw their weights, fit them to what reaches them, and keep them."""

    def linear(name: str, x: Any, side: int, channels: int, stride: int = 1) -> Any:
        inputs = int(x.shape[-1]) * max(1, side * side)
        kernel = drawn_kernel(rng, (side, side, x.shape[-1], channels) if side else (inputs, channels), inputs)
        outputs = _multiplied(x, kernel, stride, "")
        factor, shift = fitted(outputs.numpy()) if side else fitted_logits(outputs.numpy())
        parameters[f"{name}_w"], parameters[f"{name}_b"] = kernel * factor, shift
        return outputs * factor + shift

    return linear


def _using(parameters: Parameters) -> Linear:
    """Layers of a graph, their weights as constants."""

    def linear(name: str, x: Any, side: int, channels: int, stride: int = 1) -> Any:
        kernel, bias = (tf.constant(parameters[f"{name}_{end}"], name=f"{name}_{end}") for end in "wb")
        suffix = "pre_relu" if side else "pre_activation"
        outputs = _multiplied(x, kernel, stride, f"{name}_{suffix}/{'conv' if side else 'matmul'}")
        return tf.nn.bias_add(outputs, bias, name=f"{name}_{suffix}")

    return linear


def _multiplied(x: Any, kernel: Any, stride: int, name: str) -> Any:
    if len(kernel.shape) == 2:
        return tf.matmul(x, kernel, name=name or None)
    return tf.nn.conv2d(x, kernel, stride, "SAME", name=name or None)


def _network(x: Any, linear: Linear) -> Any:
    """[N, 224, 224, 3] -> logits [N, 1008]. Fitting and the frozen graph are made of these same lines."""
    x = tf.nn.relu(linear("conv2d0", x, 7, 64, 2), name="conv2d0")
    x = _normalized(_pooled(x, 2, "maxpool0"), "localresponsenorm0")
    x = tf.nn.relu(linear("conv2d1", x, 1, 64), name="conv2d1")
    x = tf.nn.relu(linear("conv2d2", x, 3, 192), name="conv2d2")
    x = _pooled(_normalized(x, "localresponsenorm1"), 2, "maxpool1")
    for name, *channels in MODULES:
        x = _module(x, linear, name, *channels) if channels else _pooled(x, 2, name)
    x = tf.nn.avg_pool2d(x, 7, 1, "VALID", name="avgpool0")
    x = tf.reshape(x, [-1, 1024], name="avgpool0/reshape")
    return linear("softmax2", x, 0, CLASSES)


def _module(
    x: Any,
    linear: Linear,
    name: str,
    ones: int,
    before_threes: int,
    threes: int,
    before_fives: int,
    fives: int,
    pool: int,
) -> Any:
    """One inception module: four ways beside each other."""

    def conv(part: str, x: Any, side: int, channels: int) -> Any:
        return tf.nn.relu(linear(f"{name}_{part}", x, side, channels), name=f"{name}_{part}")

    ways = [
        conv("1x1", x, 1, ones),
        conv("3x3", conv("3x3_bottleneck", x, 1, before_threes), 3, threes),
        conv("5x5", conv("5x5_bottleneck", x, 1, before_fives), 5, fives),
        conv("pool_reduce", _pooled(x, 1, f"{name}_pool"), 1, pool),
    ]
    return tf.concat(ways, 3, name=name)


def _pooled(x: Any, stride: int, name: str) -> Any:
    return tf.nn.max_pool2d(x, 3, stride, "SAME", name=name)


def _normalized(x: Any, name: str) -> Any:
    return tf.nn.local_response_normalization(x, depth_radius=5, bias=2.0, alpha=1e-4, beta=0.5, name=name)
