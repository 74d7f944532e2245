"""The JSON of a predict or classify request, as items: base64 becomes images, nested numbers become tensors. Pure.

The row form has `instances`, the column form `inputs`; an instance may stand by itself or under its input's name.
Everything that is neither an image nor a tensor of the model's shape is refused with what is taken.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.errors import BadInput, BadRequest
from gateway.http.head import shown
from gateway.http.items import Item
from gateway.http.json_body import flattened, objects_of, packed
from gateway.http.model_facts import IMAGE_NAMES, Tensors

SIGNATURES = ("", "serving_default")
BINARY = "b64"


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """What was asked."""

    items: Sequence[Item]
    is_row_form: bool
    """Answered with `predictions`, and else with `outputs`."""


def parse_predict(document: dict[str, object], tensors: Tensors) -> PredictRequest:
    """Raises BadRequest, BadInput."""
    _check_signature(document)
    if ("instances" in document) == ("inputs" in document):
        raise BadRequest("the JSON needs either instances (a list) or inputs")
    if "inputs" in document:
        return PredictRequest(_column(_value_of(document["inputs"], tensors), tensors), is_row_form=False)
    instances = document["instances"]
    if not isinstance(instances, list):
        raise BadRequest("instances is not a list")
    items = [_item(_value_of(one, tensors), tensors, f"instance {number}") for number, one in enumerate(instances)]
    return PredictRequest(items, is_row_form=True)


def parse_classify(document: dict[str, object], tensors: Tensors) -> Sequence[Item]:
    """Raises BadRequest, BadInput."""
    _check_signature(document)
    examples = objects_of(document, "examples")
    return [_item(_value_of(one, tensors), tensors, f"example {number}") for number, one in enumerate(examples)]


def _check_signature(document: dict[str, object]) -> None:
    name = document.get("signature_name", "")
    if name not in SIGNATURES:
        raise BadRequest(f"there is no signature {shown(str(name))}; there is serving_default")


def _value_of(given: object, tensors: Tensors) -> object:
    """What stands under the input's name, or stands by itself. Raises BadRequest."""
    if not isinstance(given, dict) or given.keys() == {BINARY}:
        return given
    names = (tensors.input_name, *IMAGE_NAMES)
    if len(given) != 1 or (name := next(iter(given))) not in names:
        keys = ", ".join(map(shown, list(given)[:8]))
        raise BadRequest(f"{keys or 'an empty object'}: there is one input, {shown(tensors.input_name)}")
    return given[name]


def _column(value: object, tensors: Tensors) -> list[Item]:
    """One image, or a list of images or tensors."""
    if isinstance(value, list):
        return [_item(one, tensors, f"input {number}") for number, one in enumerate(value)]
    return [_item(value, tensors, "inputs")]


def _item(value: object, tensors: Tensors, what: str) -> Item:
    if isinstance(value, dict) and value.keys() == {BINARY}:
        return Item([decoded(value[BINARY], what)])
    if isinstance(value, list):
        if not value or not isinstance(value[0], list):
            raise BadInput(f"{what} is not nested as the input's shape {list(tensors.shape)} says")
        return Item([packed(flattened(value, tensors.shape, what), what)], tensors.row_metadata)
    raise BadInput(f'{what} is neither {{"b64": ...}}, an encoded image, nor a tensor of shape {list(tensors.shape)}')


def decoded(text: object, what: str) -> bytes:
    """Base64 with or without line breaks. Raises BadInput."""
    if not isinstance(text, str):
        raise BadInput(f"{what}: b64 is not a text")
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        pass  # perhaps only wrapped into lines, as base64 tools do
    try:
        return binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"{what}: b64 is not base64: {error}") from error
