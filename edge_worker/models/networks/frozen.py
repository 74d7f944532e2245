"""A Keras model as a frozen graph that every engine here loads: constants folded, normalisation in the convolutions.

OpenCV's importer knows patterns of TensorFlow's older exports, and fails on what Keras 3 writes for some of its layers.
So everything that does not depend on the picture is computed here once, and what remains is convolutions, biases,
activations and pools. Folding is arithmetic on the weights; it changes answers by rounding only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

INPUT, OUTPUT = "input", "probabilities"

_LINEAR = ("Conv2D", "DepthwiseConv2dNative", "MatMul")
Numbers = NDArray[Any]


@dataclass(slots=True)
class _Node:
    """One operation that depends on the picture; `inputs` are names of nodes and constants."""

    definition: Any
    op: str
    inputs: list[str]


def frozen_graph(model: Any) -> bytes:
    """The serialized GraphDef of a Keras model [N, height, width, 3] -> probabilities."""
    specification = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name=INPUT)
    concrete = tf.function(lambda x: model(x, training=False)).get_concrete_function(specification)
    definition = convert_variables_to_constants_v2(concrete).graph.as_graph_def()
    return simplified(definition, concrete.inputs[0].op.name, "Identity")


def simplified(definition: Any, source: str, end: str) -> bytes:
    """The part of a graph between two nodes, folded; they are called INPUT and OUTPUT then."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
        nodes, constants = _split(graph, source, end)
    folded = _Folding(nodes, constants)
    return _written(folded, source, folded.meant(end))


def _split(graph: Any, source: str, end: str) -> tuple[dict[str, _Node], dict[str, Numbers]]:
    """What depends on the source, in the order of computing; and the values of everything else that it takes."""
    wanted = _before(graph.get_operation_by_name(end))
    nodes: dict[str, _Node] = {}
    needed: dict[str, Any] = {}
    for operation in graph.get_operations():  # each after those that it takes from
        taken = [one.op.name for one in operation.inputs]
        if operation.name != source and (operation.name not in wanted or not any(name in nodes for name in taken)):
            continue
        nodes[operation.name] = _Node(operation.node_def, operation.type, taken)
        needed |= {one.op.name: one for one in operation.inputs if one.op.name not in nodes}
    with tf.compat.v1.Session(graph=graph) as session:
        return nodes, session.run(needed)


def _before(operation: Any) -> set[str]:
    """The names of everything that this operation needs, and its own."""
    found: set[str] = set()
    ahead = [operation]
    while ahead:
        one = ahead.pop()
        if one.name not in found:
            found.add(one.name)
            ahead.extend(tensor.op for tensor in one.inputs)
    return found


class _Folding:
    """Scales and shifts that follow a convolution go into its weights and its bias."""

    def __init__(self, nodes: Mapping[str, _Node], constants: Mapping[str, Numbers]) -> None:
        self.nodes: dict[str, _Node] = {}
        self.constants = dict(constants)
        self._meaning: dict[str, str] = {}
        self._users = _counted(name for node in nodes.values() for name in node.inputs)
        for name, node in nodes.items():
            node.inputs = [self.meant(one) for one in node.inputs]
            if not self._is_folded(name, node):
                self.nodes[name] = node

    def meant(self, name: str) -> str:
        """What a name stands for, now that some nodes are gone."""
        return self._meaning.get(name, name)

    def _is_folded(self, name: str, node: _Node) -> bool:
        if node.op == "Identity":
            self._stands_for(name, node.inputs[0])
            return True
        before, value = self._with_constant(node)
        if value is None or before not in self.nodes or self._users[before] != 1:
            return False
        if node.op == "Mul":
            return self._scaled(name, before, value)
        return self._shifted(name, node, before, -value if node.op == "Sub" else value)

    def _with_constant(self, node: _Node) -> tuple[str, Numbers | None]:
        """The node that a constant is combined with, and the constant as one number a channel; None if it is not so."""
        if node.op not in ("Mul", "AddV2", "Sub", "BiasAdd"):
            return "", None
        first, second = node.inputs
        if first in self.constants and node.op in ("Mul", "AddV2"):
            first, second = second, first
        value = self.constants.get(second)
        flat = value is not None and (value.ndim == 0 or value.size == value.shape[-1])
        return first, value.reshape(-1) if value is not None and flat else None

    def _scaled(self, name: str, before: str, value: Numbers) -> bool:
        linear = self._linear(before)
        if linear is None:
            return False
        if linear != before:  # there is a bias in between
            self._replace(before, 1, self.constants[self.nodes[before].inputs[1]] * value)
        weights = self.constants[self.nodes[linear].inputs[1]]
        is_depthwise = self.nodes[linear].op == "DepthwiseConv2dNative" and value.size > 1
        self._replace(linear, 1, weights * (value.reshape(weights.shape[2:]) if is_depthwise else value))
        self._stands_for(name, before)
        return True

    def _shifted(self, name: str, node: _Node, before: str, value: Numbers) -> bool:
        linear = self._linear(before)
        if linear is None:
            return False
        if linear != before:
            self._replace(before, 1, self.constants[self.nodes[before].inputs[1]] + value)
            self._stands_for(name, before)
            return True
        channels = int(np.prod(self.constants[self.nodes[linear].inputs[1]].shape[-1:]))
        if self.nodes[linear].op == "DepthwiseConv2dNative":
            channels *= self.constants[self.nodes[linear].inputs[1]].shape[2]
        bias = f"{name}/bias"
        self.constants[bias] = np.broadcast_to(value, (channels,)).copy()
        self.nodes[name] = _Node(node.definition, "BiasAdd", [before, bias])
        self._users[before] = 1
        return True

    def _linear(self, name: str) -> str | None:
        """The convolution behind a node: itself, or what its bias is added to."""
        node = self.nodes[name]
        if node.op == "BiasAdd":
            name, node = node.inputs[0], self.nodes[node.inputs[0]]
        return name if node.op in _LINEAR and node.inputs[1] in self.constants else None

    def _replace(self, name: str, position: int, value: Numbers) -> None:
        """Under a name of the node's own: another one may use the same constant."""
        own = f"{name}/folded"
        self.constants[own] = value.astype(np.float32)
        self.nodes[name].inputs[position] = own

    def _stands_for(self, name: str, other: str) -> None:
        self._meaning[name] = other
        self._users[other] += self._users.get(name, 1) - 1  # the last one is used by nobody in here


def _counted(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts


def _written(folded: _Folding, source: str, end: str) -> bytes:
    definition = tf.compat.v1.GraphDef()
    names = {source: INPUT, end: OUTPUT}
    used = {name for node in folded.nodes.values() for name in node.inputs}
    for name in sorted(used - folded.nodes.keys()):
        value = folded.constants[name]
        constant = definition.node.add(name=name, op="Const")
        constant.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    for name, node in folded.nodes.items():
        written = definition.node.add(name=names.get(name, name), op=node.op)
        written.input.extend(names.get(one, one) for one in node.inputs)
        _copy_attributes(node, written)
    serialized: bytes = definition.SerializeToString(deterministic=True)
    return serialized


def _copy_attributes(node: _Node, written: Any) -> None:
    if node.op == "BiasAdd":
        written.attr["T"].type = tf.float32.as_datatype_enum
        written.attr["data_format"].s = b"NHWC"
        return
    for key, value in node.definition.attr.items():
        if not key.startswith("_"):  # those are notes of TensorFlow to itself
            written.attr[key].CopyFrom(value)
