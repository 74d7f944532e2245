"""The OpenAPI document, which a test compares with the routes that are served and with the table of errors."""

from __future__ import annotations

from importlib import metadata

from gateway.http.head import (
    DEFAULT_TOP,
    MAX_GROUP_NAME,
    MAX_TOP,
    REQUEST_ID,
    TRACEPARENT,
    WORKER,
)
from gateway.http.open_inference import openapi as open_inference
from gateway.http.openapi_parts import (
    TOKEN,
    Json,
    answer,
    asked,
    described,
    listed,
    parameter,
    problem,
    problems,
    ref,
    whole,
)
from gateway.http.tf_serving import openapi as tf_serving
from gateway.http.timing import STAGES
from gateway.http.torchserve import paths as torchserve_paths

TUNNEL_PATH = "/v1/tunnel"
SUBPROTOCOL = "edge-inference.v1"


def openapi_document(*, has_tunnel: bool, takes_addresses: bool = False) -> Json:
    """The public API in OpenAPI 3.1. `takes_addresses`: images may be named by address."""
    paths: Json = {
        "/inference/{model}": {"post": _inference(takes_addresses)},
        **open_inference.paths(),
        **tf_serving.paths(),
        **torchserve_paths(),
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


def _inference(takes_addresses: bool) -> Json:
    image = {"schema": {"type": "string", "format": "binary"}}
    group: Json = {"type": "string", "minLength": 1, "maxLength": MAX_GROUP_NAME}
    files = {"schema": {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}}}
    content = {"image/*": image, "application/octet-stream": image, "multipart/form-data": files}
    if takes_addresses:
        content["application/json"] = {"schema": described("image_url", image_url={"type": "string", "format": "uri"})}
    return {
        "summary": "Labels for one image, or for each of many files",
        "security": TOKEN,
        "parameters": [
            parameter("path", "model", {"type": "string"}, "The model's name", required=True),
            parameter("query", "top", whole(MAX_TOP, DEFAULT_TOP), "How many labels, the most probable first"),
            parameter("query", "query", group, "Whether it shows one of this group of labels, instead of labels"),
            *asked(),
            parameter("header", WORKER, {"type": "string"}, "Only this worker; taken with the policy pin alone"),
            parameter("header", REQUEST_ID, {"type": "string"}, "Named in the answer and in every log line"),
            parameter("header", TRACEPARENT, {"type": "string"}, "W3C Trace Context"),
        ],
        "requestBody": {
            "required": True,
            "content": content,
        },
        "responses": {
            "200": {
                "description": "One result, or a list of results and problems in the order of the files",
                "headers": {"Server-Timing": {"schema": {"type": "string"}, "description": ", ".join(STAGES)}},
                "content": {"application/json": {"schema": {"oneOf": [ref("Result"), ref("Results")]}}},
            },
            **problems(),
        },
    }


def _readiness() -> Json:
    content = {"application/json": {"schema": ref("Readiness")}}
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
        "security": TOKEN,
        "responses": {"101": {"description": "Binary messages follow"}, "default": problem("Refused")},
    }


def _get(summary: str, schema: str, *, authenticated: bool = False) -> Json:
    operation: Json = {"summary": summary, "responses": {"200": answer(schema)}}
    if authenticated:
        operation["security"] = TOKEN
        operation["responses"]["401"] = problem("A valid token is needed")
    return operation


def _schemas() -> Json:
    text: Json = {"type": "string"}
    number: Json = {"type": "number"}
    count: Json = {"type": "integer"}
    milliseconds: Json = {"type": "object", "additionalProperties": number}
    model = described("model version state", model=text, version=text, state=text)
    worker = described("worker models", worker=text, rtt_ms=number, draining={"type": "boolean"}, models=listed(model))
    problem = dict.fromkeys(["type", "title", "detail", "instance", "code", "error"], text) | {"status": count}
    return {
        "Result": described("worker request_id timing_ms", worker=text, request_id=text, timing_ms=milliseconds),
        "Results": {
            "type": "array",
            "items": {"allOf": [described("file", file=text), {"oneOf": [ref("Result"), ref("Problem")]}]},
        },
        "Problem": described(" ".join(problem), **problem),
        "Workers": described("workers", workers={"type": "array", "items": worker}),
        "Health": described("status", status=text),
        "Readiness": described(
            "status workers models",
            status={"enum": ["ready", "draining"]},
            workers=count,
            models={"type": "object", "additionalProperties": count},
        ),
        "Document": {"type": "object"},
        "Error": described("error", error=text),
        **open_inference.schemas(),
        **tf_serving.schemas(),
        "Probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
    }
