"""The OpenAPI document, which a test compares with the routes that are served and with the table of errors."""

from __future__ import annotations

from http import HTTPStatus
from importlib import metadata
from typing import Any

from gateway.http.errors import PROBLEM_TYPE, STATUS_BY_ERROR
from gateway.http.head import DEFAULT_TOP, MAX_TOP, PRIORITY, REQUEST_ID, REQUEST_TIMEOUT, TRACEPARENT, WORKER
from gateway.http.timing import STAGES

TUNNEL_PATH = "/v1/tunnel"
SUBPROTOCOL = "edge-inference.v1"

Json = dict[str, Any]  # Any: a JSON document
_NOT_SENT = 499


def openapi_document(*, has_tunnel: bool) -> Json:
    """The public API in OpenAPI 3.1."""
    paths: Json = {
        "/inference/{model}": {"post": _inference()},
        "/v1/workers": {"get": _get("Workers, their models and readiness", "Workers", authenticated=True)},
        "/healthz": {"get": _get("Whether the process is up", "Health")},
        "/readyz": {"get": _readiness()},
        "/openapi.json": {"get": _get("This document", "Document")},
    }
    if has_tunnel:
        paths[TUNNEL_PATH] = {"get": _tunnel()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Edge inference gateway", "version": metadata.version("edge-inference-gateway")},
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": _schemas(),
        },
    }


def _inference() -> Json:
    image = {"schema": {"type": "string", "format": "binary"}}
    files = {"schema": {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}}}
    return {
        "summary": "Labels for one image, or for each of many files",
        "security": [{"token": []}],
        "parameters": [
            _parameter("path", "model", {"type": "string"}, "The model's name", required=True),
            _parameter("query", "top", _whole(MAX_TOP, DEFAULT_TOP), "How many labels, the most probable first"),
            _parameter("header", REQUEST_TIMEOUT, {"type": "number"}, "Deadline in seconds, counted from the head"),
            _parameter("header", PRIORITY, {"enum": ["high", "normal"]}, "High leaves the queue first"),
            _parameter("header", WORKER, {"type": "string"}, "Only this worker; taken with the policy pin alone"),
            _parameter("header", REQUEST_ID, {"type": "string"}, "Named in the answer and in every log line"),
            _parameter("header", TRACEPARENT, {"type": "string"}, "W3C Trace Context"),
        ],
        "requestBody": {
            "required": True,
            "content": {"image/*": image, "application/octet-stream": image, "multipart/form-data": files},
        },
        "responses": {
            "200": {
                "description": "One result, or a list of results and problems in the order of the files",
                "headers": {"Server-Timing": {"schema": {"type": "string"}, "description": ", ".join(STAGES)}},
                "content": {"application/json": {"schema": {"oneOf": [_ref("Result"), _ref("Results")]}}},
            },
            **_problems(),
        },
    }


def _readiness() -> Json:
    content = {"application/json": {"schema": _ref("Readiness")}}
    return {
        "summary": "Whether new work is taken",
        "responses": {
            "200": {"description": "Yes, even if no worker is here yet", "content": content},
            "503": {"description": "No: the gateway is shutting down", "content": content},
        },
    }


def _tunnel() -> Json:
    return {
        "summary": "The workers' WebSocket",
        "description": f"Subprotocol {SUBPROTOCOL}; specified in docs/reference/wire.md",
        "security": [{"token": []}],
        "responses": {"101": {"description": "Binary messages follow"}, "default": _problem("Refused")},
    }


def _get(summary: str, schema: str, *, authenticated: bool = False) -> Json:
    content = {"application/json": {"schema": _ref(schema)}}
    operation: Json = {"summary": summary, "responses": {"200": {"description": "OK", "content": content}}}
    if authenticated:
        operation["security"] = [{"token": []}]
        operation["responses"]["401"] = _problem("A valid token is needed")
    return operation


def _problems() -> Json:
    """Every status of the table of errors, with the titles that it may have."""
    titles: dict[int, list[str]] = {}
    for entry in STATUS_BY_ERROR.values():
        if entry.status != _NOT_SENT:
            titles.setdefault(entry.status, []).append(entry.title)
    titles |= {417: [HTTPStatus.EXPECTATION_FAILED.phrase], 431: ["The headers are too large"], 500: ["A bug"]}
    return {str(status): _problem("; ".join(texts)) for status, texts in sorted(titles.items())}


def _problem(description: str) -> Json:
    return {"description": description, "content": {PROBLEM_TYPE: {"schema": _ref("Problem")}}}


def _parameter(place: str, name: str, schema: Json, description: str, *, required: bool = False) -> Json:
    return {"in": place, "name": name, "required": required, "schema": schema, "description": description}


def _whole(maximum: int, default: int) -> Json:
    return {"type": "integer", "minimum": 1, "maximum": maximum, "default": default}


def _ref(schema: str) -> Json:
    return {"$ref": f"#/components/schemas/{schema}"}


def _object(required: str = "", **properties: Json) -> Json:
    return {"type": "object", "required": required.split(), "properties": properties}


def _schemas() -> Json:
    text: Json = {"type": "string"}
    number: Json = {"type": "number"}
    whole: Json = {"type": "integer"}
    milliseconds: Json = {"type": "object", "additionalProperties": number}
    model = _object("model version state", model=text, version=text, state=text)
    models: Json = {"type": "array", "items": model}
    worker = _object("worker models", worker=text, rtt_ms=number, draining={"type": "boolean"}, models=models)
    problem = dict.fromkeys(["type", "title", "detail", "instance", "code", "error"], text) | {"status": whole}
    return {
        "Result": _object("worker request_id timing_ms", worker=text, request_id=text, timing_ms=milliseconds),
        "Results": {
            "type": "array",
            "items": {"allOf": [_object("file", file=text), {"oneOf": [_ref("Result"), _ref("Problem")]}]},
        },
        "Problem": _object(" ".join(problem), **problem),
        "Workers": _object("workers", workers={"type": "array", "items": worker}),
        "Health": _object("status", status=text),
        "Readiness": _object(
            "status workers models",
            status={"enum": ["ready", "draining"]},
            workers=whole,
            models={"type": "object", "additionalProperties": whole},
        ),
        "Document": {"type": "object"},
    }
