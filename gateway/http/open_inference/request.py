"""An inference request of the Open Inference Protocol: JSON, then perhaps the tensors' bytes. Bytes in, values out.

Refuses what does not add up, with a sentence that says what would: one input, its shape, its bytes. Unknown keys are
ignored, as the protocol asks; numbers of the binary section stay bytes, for no one here reads them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.errors import BadInput, BadRequest, PayloadTooLarge, Unsupported
from gateway.http.head import shown
from gateway.http.items import Item
from gateway.http.json_body import flag_of, flattened, object_of, objects_of, packed, parse_object, text_of, whole_of
from gateway.http.model_facts import IMAGE_NAMES, MAX_DIMENSIONS, Tensors

LENGTH_BYTES = 4
"""Before each BYTES element: its length, little-endian."""
MAX_SIZE = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """The one output, and how it is to be written."""

    name: str
    is_binary: bool
    classification: int = 0
    """How many classes as text, the likeliest first; 0 for the probabilities of all."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What was asked."""

    id: str
    """Echoed if it is not empty."""
    is_urgent: bool
    """Priority 1, the highest."""
    timeout_us: int
    """0: none given."""
    wanted: Wanted
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one request may ask for (`limits`)."""

    max_json_bytes: int
    max_items: int


class Cutter:
    """Takes a body apart that is here in pieces, copying only where a cut goes through a piece."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._index = 0
        self._offset = 0
        self.left_bytes = sum(map(len, pieces))

    def take(self, size: int) -> list[bytes]:
        """The next `size` bytes, of which at least so many must be left."""
        assert 0 <= size <= self.left_bytes, (size, self.left_bytes)
        self.left_bytes -= size
        taken: list[bytes] = []
        while size:
            piece = self._pieces[self._index]
            part = piece[self._offset : self._offset + size] if self._offset or size < len(piece) else piece
            taken.append(part)
            size -= len(part)
            self._offset += len(part)
            if self._offset == len(piece):
                self._index, self._offset = self._index + 1, 0
        return taken

    def take_joined(self, size: int) -> bytes:
        """The same as one."""
        taken = self.take(size)
        return taken[0] if len(taken) == 1 else b"".join(taken)


def parse_infer(pieces: Sequence[bytes], header_bytes: int | None, tensors: Tensors, bounds: Bounds) -> InferRequest:
    """A whole body. `header_bytes` is the Inference-Header-Content-Length: where the binary section begins. Raises
    BadRequest, BadInput, PayloadTooLarge, Unsupported."""
    cutter = Cutter(pieces)
    document = _document(cutter, pieces, header_bytes, bounds.max_json_bytes)
    parameters = object_of(document, "parameters")
    given = objects_of(document, "inputs")
    if len(given) != 1:
        raise BadRequest(f"{len(given)} inputs: exactly one is taken, {shown(tensors.input_name)}")
    items = _items(given[0], cutter, tensors, bounds.max_items)
    if cutter.left_bytes:
        raise BadRequest(f"{cutter.left_bytes} bytes are left over after the input's binary_data_size")
    return InferRequest(
        id=text_of(document, "id"),
        is_urgent=whole_of(parameters, "priority", MAX_SIZE) == 1,
        timeout_us=whole_of(parameters, "timeout", MAX_SIZE),
        wanted=_wanted(document, parameters, tensors),
        items=items,
    )


def _document(cutter: Cutter, pieces: Sequence[bytes], header_bytes: int | None, max_bytes: int) -> dict[str, object]:
    """The JSON. A header that a client has left over from an earlier request is seen through: if what it counts is not
    JSON and the whole body is, it is the whole body."""
    size = cutter.left_bytes
    if header_bytes is None:
        return parse_object(cutter.take_joined(_bounded(size, max_bytes)))
    if header_bytes <= size:
        try:
            return parse_object(cutter.take_joined(_bounded(header_bytes, max_bytes)))
        except BadRequest as error:
            problem = error
    else:
        problem = BadRequest(f"Inference-Header-Content-Length is {header_bytes}, but the body has {size} bytes")
    try:
        document = parse_object(b"".join(pieces) if size <= max_bytes else b"")
    except BadRequest:
        raise problem from None
    cutter.take(cutter.left_bytes)
    return document


def _bounded(json_bytes: int, max_bytes: int) -> int:
    if json_bytes > max_bytes:
        raise PayloadTooLarge(f"the JSON has {json_bytes} bytes, and {max_bytes} are allowed (limits.max_json_bytes)")
    return json_bytes


def _wanted(document: dict[str, object], parameters: dict[str, object], tensors: Tensors) -> Wanted:
    is_binary = flag_of(parameters, "binary_data_output", False)
    asked = objects_of(document, "outputs")
    if not asked:
        return Wanted(tensors.output_name, is_binary)
    if len(asked) > 1:
        raise BadRequest(f"{len(asked)} outputs: there is one, {shown(tensors.output_name)}")
    name, said = text_of(asked[0], "name"), object_of(asked[0], "parameters")
    if name != tensors.output_name:
        raise BadRequest(f"there is no output {shown(name)}; there is {shown(tensors.output_name)}")
    _refuse_shared_memory(said)
    classification = min(whole_of(said, "classification", MAX_SIZE), tensors.classes)
    return Wanted(name, flag_of(said, "binary_data", is_binary), classification)


def _items(given: dict[str, object], cutter: Cutter, tensors: Tensors, max_items: int) -> list[Item]:
    name, datatype, shape = text_of(given, "name"), given.get("datatype"), _shape(given)
    said = object_of(given, "parameters")
    _refuse_shared_memory(said)
    is_encoded = datatype == "BYTES"
    if name != tensors.input_name and not (is_encoded and name in IMAGE_NAMES):
        raise BadRequest(f"there is no input {shown(name)}; there is {shown(tensors.input_name)}")
    if not is_encoded and datatype != "FP32":
        detail = f"datatype {shown(str(datatype))} is not taken: send encoded images as BYTES or a tensor as FP32"
        raise BadRequest(detail)
    if is_encoded:
        _check_encoded_shape(shape)
    elif shape[1:] != tensors.shape or not shape[0]:
        raise BadInput(f"{shown(name)} has the shape {list(shape)}, and [n, {_sides(tensors.shape)}] is taken")
    if shape[0] > max_items:
        raise BadRequest(f"{shape[0]} images in one request: up to {max_items} are taken (limits.max_parts)")
    has_binary = "binary_data_size" in said
    if has_binary == ("data" in given):
        raise BadRequest(f"{shown(name)} needs either data or the parameter binary_data_size")
    if not has_binary:
        values = flattened(given["data"], shape, name)
        return _texts(values, name) if is_encoded else _rows([packed(values, name)], shape[0], tensors)
    return _binary_items(cutter, whole_of(said, "binary_data_size", MAX_SIZE), shape, is_encoded, tensors)


def _binary_items(cutter: Cutter, size: int, shape: tuple[int, ...], is_encoded: bool, tensors: Tensors) -> list[Item]:
    if size > cutter.left_bytes:
        raise BadRequest(f"binary_data_size is {size}, but {cutter.left_bytes} bytes follow the JSON")
    if is_encoded:
        return list(_elements(cutter, shape[0], size))
    expected = shape[0] * tensors.row_bytes
    if size != expected:
        raise BadInput(f"the tensor has {size} bytes, and its shape {list(shape)} of FP32 makes {expected}")
    return _rows(cutter.take(size), shape[0], tensors)


def _elements(cutter: Cutter, count: int, left: int) -> Iterator[Item]:
    """BYTES within the next `left` bytes: each element after its length."""
    if count > left // LENGTH_BYTES:
        raise BadInput(f"the shape says {count} elements, for which {left} bytes are too few")
    for number in range(count):
        if left < LENGTH_BYTES:
            raise BadInput(f"the binary data ends before the length of element {number}")
        size = int.from_bytes(cutter.take_joined(LENGTH_BYTES), "little")
        left -= LENGTH_BYTES + size
        if left < 0:
            raise BadInput(f"element {number} has {size} bytes by its length, but {left + size} follow")
        yield Item(cutter.take(size))
    if left:
        raise BadInput(f"{left} bytes are left over after the {count} elements that the shape says")


def _texts(values: Sequence[object], name: str) -> list[Item]:
    """BYTES in JSON: texts in UTF-8, which a JPEG cannot be."""
    items = []
    for value in values:
        if not isinstance(value, str):
            raise BadRequest(f"the data of {shown(name)} is not texts")
        items.append(Item([value.encode(errors="surrogatepass")]))
    return items


def _rows(pieces: Sequence[bytes], count: int, tensors: Tensors) -> list[Item]:
    cutter, metadata = Cutter(pieces), tensors.row_metadata
    return [Item(cutter.take(tensors.row_bytes), metadata) for _ in range(count)]


def _shape(given: dict[str, object]) -> tuple[int, ...]:
    shape = given.get("shape")
    if not isinstance(shape, list) or not 1 <= len(shape) <= MAX_DIMENSIONS:
        raise BadRequest(f"shape must be a list of 1 to {MAX_DIMENSIONS} whole numbers")
    if not all(type(side) is int and 0 <= side <= MAX_SIZE for side in shape):
        raise BadRequest("shape must be whole numbers from 0")
    if math.prod(shape) > MAX_SIZE:
        raise BadRequest("shape is larger than anything")
    return tuple(shape)


def _check_encoded_shape(shape: tuple[int, ...]) -> None:
    if len(shape) > 2 or shape[1:] not in ((), (1,)) or not shape[0]:
        raise BadInput(f"the shape of encoded images is [n] or [n, 1], with n from 1, not {list(shape)}")


def _sides(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))


def _refuse_shared_memory(parameters: dict[str, object]) -> None:
    if "shared_memory_region" in parameters:
        raise Unsupported("shared memory is not offered: send the data with the request")
