"""Writes ONNX files without the onnx package: a network that answers with the mean of each colour.

So a test knows what must come out: for a red picture the first of three classes, in the order in which the network is
given the channels. The numbers of the fields are those of onnx.proto3.
"""

from __future__ import annotations


def colour_network(width: int, height: int, layout: str = "NCHW") -> bytes:
    """Input `picture`, outputs `means`: float32 [batch, 3], not softmaxed."""
    if layout == "NCHW":
        shape: list[int | str] = ["n", 3, height, width]
        nodes = [_node("GlobalAveragePool", "picture", "pooled")]
    else:
        shape = ["n", height, width, 3]
        turn = _node("Transpose", "picture", "turned", _ints("perm", [0, 3, 1, 2]))
        nodes = [turn, _node("GlobalAveragePool", "turned", "pooled")]
    nodes.append(_node("Flatten", "pooled", "means"))
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, b"colours")
    graph += _field(11, _value("picture", shape)) + _field(12, _value("means", ["n", 3]))
    return _number(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _number(2, 13))


def _node(kind: str, takes: str, gives: str, attribute: bytes = b"") -> bytes:
    node = _field(1, takes.encode()) + _field(2, gives.encode()) + _field(3, gives.encode()) + _field(4, kind.encode())
    return node + (_field(5, attribute) if attribute else b"")


def _ints(name: str, values: list[int]) -> bytes:
    return _field(1, name.encode()) + b"".join(_number(8, value) for value in values) + _number(20, 7)


def _value(name: str, shape: list[int | str]) -> bytes:
    sides = (_number(1, side) if isinstance(side, int) else _field(2, side.encode()) for side in shape)
    tensor = _number(1, 1) + _field(2, b"".join(_field(1, side) for side in sides))
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
