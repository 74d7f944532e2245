"""Whom a path of TensorFlow Serving's API is about."""

from __future__ import annotations

from aiohttp import web

from gateway.errors import UnknownModel
from gateway.http import head
from gateway.http.model_facts import check_version

LATEST = "0"
"""How clients of OpenVINO's server ask for whichever version there is."""
LABELS = ("latest", "stable")
"""Of whichever version the workers announce: they give no labels of their own."""


def target_of(request: web.Request) -> tuple[str, str]:
    """The model and the version; empty for any. Raises BadRequest, UnknownModel."""
    match = request.match_info
    name, version, label = head.model_name_of(match["model"]), match.get("version", ""), match.get("label")
    if label is not None and label.lower() not in LABELS:
        raise UnknownModel(f"no version of {head.shown(name)} has the label {head.shown(label)}; try {LABELS[0]}")
    return name, "" if version == LATEST else check_version(version)
