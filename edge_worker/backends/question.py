"""What one call of an image model asks: what its body is, and in which form it wants the answer.

Read from the call's path and metadata, and checked before a thread is given the body. Knows descriptions and sizes, no
engine and no numbers. The contract is docs/reference/inference-exchange.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qs

from edge_worker.backends.base import BadInput, Call
from edge_worker.models.spec import InputSpec, ModelSpec

TENSOR = "application/vnd.tensor"
"""The media type of ready numbers: little-endian, row-major, their shape and type beside them."""
DATATYPE, SHAPE = "tensor-datatype", "tensor-shape"
FP32 = "FP32"
"""The one type that models take and give."""
FP32_BYTES = 4

DEFAULT_TOP = 5
MAX_TOP = 100_000
"""A larger `top` is a mistake; one over the number of classes gives all of them."""
MAX_ROWS = 256
"""Pictures of one tensor: of 224x224 pixels they are 154 MB; more are better sent as several requests, which several
workers can share."""

_SHAPE = re.compile(r"[0-9]{1,9}(,[0-9]{1,9}){0,7}")


@dataclass(frozen=True, slots=True)
class Labels:
    """JSON: the likeliest classes by name."""

    top: int = DEFAULT_TOP


@dataclass(frozen=True, slots=True)
class Raw:
    """A tensor: the probability of every class for every picture."""


@dataclass(frozen=True, slots=True)
class Group:
    """JSON: whether the picture shows one of the classes that the model's description gives this name."""

    name: str
    indices: Sequence[int]


@dataclass(frozen=True, slots=True)
class Question:
    """One call, understood."""

    wanted: Labels | Raw | Group = Labels()
    tensor_rows: int = 0
    """Pictures in the tensor that the body is; 0: the body is one image file."""


def read_question(call: Call, spec: ModelSpec) -> Question:
    """Raises BadInput for what cannot be answered, whatever the body's bytes are."""
    wanted = _wanted(call.path, spec)
    if _of(call.metadata, "content-type").partition(";")[0].strip().lower() != TENSOR:
        return Question(wanted)
    rows = _tensor_rows(call, spec.input)
    if rows > 1 and not isinstance(wanted, Raw):
        raise BadInput("bad_request", f"a tensor of {rows} pictures is answered with output=raw only")
    return Question(wanted, rows)


def _wanted(path: str, spec: ModelSpec) -> Labels | Raw | Group:
    """By the query of the path; `top` means nothing beside one of the others."""
    query = _query(path)
    if "output" in query and "query" in query:
        raise BadInput("bad_request", "output and query are two kinds of answer: give one of them")
    if "output" in query:
        if query["output"] != "raw":
            raise BadInput("bad_request", f"output = {query['output'][:40]!r}: must be raw, or left out for labels")
        return Raw()
    if "query" in query:
        return _group(query["query"], spec.groups)
    return Labels(_top(query.get("top", str(DEFAULT_TOP))))


@lru_cache(maxsize=64)
def _query(path: str) -> Mapping[str, str]:
    """The last value of each name. Clients ask the same again and again."""
    return {name: values[-1] for name, values in parse_qs(path.partition("?")[2], keep_blank_values=True).items()}


def _group(name: str, groups: Mapping[str, Sequence[int]]) -> Group:
    if name in groups:
        return Group(name, groups[name])
    there = f"there are {', '.join(groups)}" if groups else "this model has none"
    raise BadInput("bad_request", f"query = {name[:40]!r}: is not a group of labels; {there}"[:1000])


def _top(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MAX_TOP:
        return int(text)
    raise BadInput("bad_request", f"top = {text[:40]!r}: must be a whole number from 1 to {MAX_TOP}")


def _tensor_rows(call: Call, spec: InputSpec) -> int:
    """How many pictures the body holds, once its type, shape and length are the model's."""
    datatype = _of(call.metadata, DATATYPE)
    if datatype != FP32:
        raise BadInput("bad_input", f"{DATATYPE} = {datatype[:40]!r}: the input {spec.name!r} takes {FP32}")
    sides = ",".join(map(str, spec.shape[1:]))
    text = _of(call.metadata, SHAPE)
    shape = tuple(map(int, text.split(","))) if _SHAPE.fullmatch(text) else ()
    if shape[1:] != spec.shape[1:] or not 1 <= shape[0] <= MAX_ROWS:
        allowed = f"the input {spec.name!r} takes N,{sides} with N from 1 to {MAX_ROWS}"
        raise BadInput("bad_input", f"{SHAPE} = {text[:80]!r}: {allowed}")
    expected = math.prod(shape) * FP32_BYTES
    if len(call.body) != expected:
        text = f"the tensor has {len(call.body)} bytes, but {SHAPE} {text} of {FP32} makes {expected}"
        raise BadInput("bad_input", text)
    return shape[0]


def _of(metadata: Sequence[tuple[str, str]], name: str) -> str:
    """The last value of that name, which may be in any case; empty when there is none."""
    return next((value for key, value in reversed(metadata) if key.lower() == name), "")
