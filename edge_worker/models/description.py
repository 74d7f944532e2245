"""Writes the model.toml of a model that was pulled. What it writes, spec.py reads: it is checked before it is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from edge_worker.models.catalogue import CatalogueModel
from edge_worker.models.groups import written
from edge_worker.models.spec import parse_spec


def description(
    model: CatalogueModel,
    *,
    version: str,
    file: str,
    sha256: str,
    format: str,
    weights: str,
    groups: Mapping[str, Sequence[int]],
) -> str:
    """The text. Names of input and output are those of a frozen graph; a Keras file has one of each."""
    pixels = model.input
    is_frozen = format == "tf-frozen"
    text = f"""\
# {model.title}; written by `edge-worker models pull`.
name = {_quoted(model.name)}
version = {_quoted(version)}
file = {_quoted(file)}
sha256 = {_quoted(sha256)}
format = {_quoted(format)}
weights = {_quoted(weights)}

[input]
name = {_quoted(pixels.name if is_frozen else "")}
layout = {_quoted(pixels.layout)}
width = {pixels.width}
height = {pixels.height}
colour = {_quoted(pixels.colour)}
mean = {list(pixels.mean)}
scale = {list(pixels.scale)}
resize = {_quoted(pixels.resize)}
interpolation = {_quoted(pixels.interpolation)}

[output]
name = {_quoted(model.output if is_frozen else "")}
softmax = true

[labels]
file = "labels.txt"

[groups]
{written(groups)}"""
    parse_spec(text)
    return text


def _quoted(text: str) -> str:
    """A basic string of TOML, which JSON's strings are too."""
    return json.dumps(text, ensure_ascii=False)
