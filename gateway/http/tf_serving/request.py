"""The JSON of a predict or classify request, as items: base64 becomes images, nested numbers become tensors. Pure.

The row form has `instances`, the column form `inputs`; an instance may stand by itself or under its input's name.
Everything that is neither an image nor a tensor of the model's shape is refused with what is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import pybase64

from gateway.errors import BadInput, BadRequest
from gateway.http.head import shown
from gateway.http.items import Item
from gateway.http.json_body import flattened, objects_of, packed, parse_object
from gateway.http.model_facts import IMAGE_NAMES, Tensors
from gateway.http.tf_serving.lifted import Lifted, lift

SIGNATURES = ("", "serving_default")
BINARY = "b64"


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """What was asked."""

    items: Sequence[Item]
    is_row_form: bool
    """Answered with `predictions`, and else with `outputs`."""


def parse_predict(body: bytes, tensors: Tensors) -> PredictRequest:
    """Raises BadRequest, BadInput."""
    document, reader = _read(body, tensors)
    if ("instances" in document) == ("inputs" in document):
        raise BadRequest("the JSON needs either instances (a list) or inputs")
    if "inputs" in document:
        return PredictRequest(reader.column(document["inputs"]), is_row_form=False)
    instances = document["instances"]
    if not isinstance(instances, list):
        raise BadRequest("instances is not a list")
    return PredictRequest(reader.rows(instances, "instance"), is_row_form=True)


def parse_classify(body: bytes, tensors: Tensors) -> Sequence[Item]:
    """Raises BadRequest, BadInput."""
    document, reader = _read(body, tensors)
    return reader.rows(objects_of(document, "examples"), "example")


def _read(body: bytes, tensors: Tensors) -> tuple[dict[str, object], _Reader]:
    smaller, lifted = lift(body)
    document = parse_object(smaller)
    name = document.get("signature_name", "")
    if name not in SIGNATURES:
        raise BadRequest(f"there is no signature {shown(str(name))}; there is serving_default")
    return document, _Reader(tensors, lifted)


@dataclass(frozen=True, slots=True)
class _Reader:
    """JSON values to items of one model."""

    tensors: Tensors
    lifted: Lifted

    def rows(self, given: Sequence[object], what: str) -> list[Item]:
        """Each by itself or under its input's name."""
        return [self._item(self._value_of(one), f"{what} {number}") for number, one in enumerate(given)]

    def column(self, given: object) -> list[Item]:
        """One image, or a list of images or tensors; by itself or under the input's name."""
        value = self._value_of(given)
        if isinstance(value, list):
            return [self._item(one, f"input {number}") for number, one in enumerate(value)]
        return [self._item(value, "inputs")]

    def _value_of(self, given: object) -> object:
        if not isinstance(given, dict) or given.keys() == {BINARY}:
            return given
        names = (self.tensors.input_name, *IMAGE_NAMES)
        if len(given) != 1 or (name := next(iter(given))) not in names:
            keys = ", ".join(map(shown, list(given)[:8]))
            raise BadRequest(f"{keys or 'an empty object'}: there is one input, {shown(self.tensors.input_name)}")
        return given[name]

    def _item(self, value: object, what: str) -> Item:
        shape = self.tensors.shape
        if isinstance(value, dict) and value.keys() == {BINARY}:
            return Item([self._decoded(value[BINARY], what)])
        if isinstance(value, list):
            if not value or not isinstance(value[0], list):
                raise BadInput(f"{what} is not nested as the input's shape {list(shape)} says")
            return Item([packed(flattened(value, shape, what), what)], self.tensors.row_metadata)
        raise BadInput(f'{what} is neither {{"b64": ...}}, an encoded image, nor a tensor of shape {list(shape)}')

    def _decoded(self, text: object, what: str) -> bytes:
        """Base64 with or without line breaks. Raises BadInput."""
        if not isinstance(text, str):
            raise BadInput(f"{what}: b64 is not a text")
        encoded = self.lifted.get(text, text)
        with suppress(ValueError):  # of which binascii.Error is one; perhaps it is only wrapped into lines
            return pybase64.b64decode(encoded, validate=True)
        unwrapped = text if isinstance(encoded, str) else str(encoded, "latin-1")
        try:
            return pybase64.b64decode("".join(unwrapped.split()), validate=True)
        except ValueError as error:
            raise BadInput(f"{what}: b64 is not base64: {error}") from error
