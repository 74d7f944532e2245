"""The pieces that descriptions of operations are made of: parameters, references, objects, refusals."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from gateway.http.errors import PROBLEM_TYPE, STATUS_BY_ERROR
from gateway.http.head import MAX_MODEL_NAME, PRIORITY, REQUEST_TIMEOUT

Json = dict[str, Any]  # Any: a JSON document
_NOT_SENT = 499
TEXT: Json = {"type": "string"}
TOKEN: list[Json] = [{"token": []}]
"""The security of what needs a token."""


def problems() -> Json:
    """Every status of the table of errors, with the titles that it may have, as problem documents."""
    return {str(status): problem("; ".join(texts)) for status, texts in sorted(_titles().items())}


def errors() -> Json:
    """The same in the form of the standard APIs."""
    return {str(status): error("; ".join(texts)) for status, texts in sorted(_titles().items())}


def _titles() -> dict[int, list[str]]:
    titles: dict[int, list[str]] = {}
    for entry in STATUS_BY_ERROR.values():
        if entry.status != _NOT_SENT:
            titles.setdefault(entry.status, []).append(entry.title)
    return titles | {417: [HTTPStatus.EXPECTATION_FAILED.phrase], 431: ["The headers are too large"], 500: ["A bug"]}


def problem(description: str) -> Json:
    """A refusal of the native API."""
    return {"description": description, "content": {PROBLEM_TYPE: {"schema": ref("Problem")}}}


def error(description: str) -> Json:
    """A refusal of a standard API."""
    return answer("Error", description)


def answer(schema: str, description: str = "OK") -> Json:
    """A JSON answer."""
    return {"description": description, "content": {"application/json": {"schema": ref(schema)}}}


def parameter(place: str, name: str, schema: Json, description: str, *, required: bool = False) -> Json:
    """A path's, a query's or a header's."""
    return {"in": place, "name": name, "required": required, "schema": schema, "description": description}


def asked() -> list[Json]:
    """How long a request may take, and how urgent it is."""
    seconds: Json = {"type": "number", "exclusiveMinimum": 0}
    return [
        parameter("header", REQUEST_TIMEOUT, seconds, "Deadline in seconds, counted from the head"),
        parameter("header", PRIORITY, {"enum": ["high", "normal"]}, "High leaves the queue first"),
    ]


def operation(summary: str, schema: str, parameters: list[Json]) -> Json:
    """An operation of a standard API that needs a token."""
    responses = {"200": answer(schema), **errors()}
    return {"summary": summary, "security": TOKEN, "parameters": parameters, "responses": responses}


def model_name() -> Json:
    """The path's model."""
    name: Json = {"type": "string", "minLength": 1, "maxLength": MAX_MODEL_NAME}
    return parameter("path", "model", name, "The model's name", required=True)


def version() -> Json:
    """The path's version."""
    number: Json = {"type": "string", "pattern": "^[0-9]{1,18}$"}
    return parameter("path", "version", number, "One that a worker announces", required=True)


def whole(maximum: int, default: int) -> Json:
    """A whole number from 1."""
    return {"type": "integer", "minimum": 1, "maximum": maximum, "default": default}


def ref(schema: str) -> Json:
    """A schema of this document."""
    return {"$ref": f"#/components/schemas/{schema}"}


def listed(items: Json) -> Json:
    """A list."""
    return {"type": "array", "items": items}


def described(required: str = "", **properties: Json) -> Json:
    """An object. `required` has the names of members that are always there."""
    return {"type": "object", "required": required.split(), "properties": properties}
