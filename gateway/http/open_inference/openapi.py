"""The Open Inference Protocol in OpenAPI's words: its paths and its schemas, for the gateway's document."""

from __future__ import annotations

from gateway.http.open_inference.response import HEADER_LENGTH
from gateway.http.open_inference.routes import MODEL, VERSION
from gateway.http.openapi_parts import (
    TEXT,
    Json,
    answer,
    asked,
    described,
    listed,
    model_name,
    operation,
    parameter,
    ref,
    version,
)

COUNT: Json = {"type": "integer", "minimum": 0}
ANYTHING: Json = {"type": "object"}


def paths() -> Json:
    """Every path under /v2."""
    only_ready = described(ready={"type": "boolean"})
    found: Json = {
        "/v2": {"get": operation("The server and its extensions", "Server", [])},
        "/v2/health/live": {"get": _health("Whether the process is up")},
        "/v2/health/ready": {"get": _health("Whether new work is taken")},
        "/v2/models/stats": {"get": operation("Every model's counts", "Statistics", [])},
        "/v2/repository/index": {"post": _control("Models that workers announce", "Index", only_ready, [])},
        "/v2/repository/models/{model}/load": {
            "post": _control("200 if it is ready", "Empty", ANYTHING, _names(MODEL))
        },
        "/v2/repository/models/{model}/unload": {
            "post": _control("Not offered: 501", "Empty", ANYTHING, _names(MODEL))
        },
    }
    for path in (MODEL, VERSION):
        found |= {
            path: {"get": _of_model("A model's input and output", "ModelMetadata", path)},
            f"{path}/ready": {"get": _of_model("Whether a worker is ready for it", "ModelReady", path)},
            f"{path}/config": {"get": _of_model("Its configuration", "ModelConfiguration", path)},
            f"{path}/stats": {"get": _of_model("Its counts", "Statistics", path)},
            f"{path}/infer": {"post": _infer(path)},
        }
    return found


def _health(summary: str) -> Json:
    return {"summary": summary, "responses": {"200": answer("ServerHealth"), "503": answer("ServerHealth", "No")}}


def _control(summary: str, schema: str, body_schema: Json, named: list[Json]) -> Json:
    body = {"required": False, "content": {"application/json": {"schema": body_schema}}}
    return operation(summary, schema, named) | {"requestBody": body}


def _names(path: str) -> list[Json]:
    return [model_name(), version()] if path.startswith(VERSION) else [model_name()]


def _of_model(summary: str, schema: str, path: str) -> Json:
    return operation(summary, schema, _names(path))


def _infer(path: str) -> Json:
    length = parameter("header", HEADER_LENGTH, COUNT, "Bytes of JSON before the tensors; 0: the body is one image")
    infer = operation(
        "Probabilities or classes for images or tensors", "InferResponse", [*_names(path), length, *asked()]
    )
    binary: Json = {"schema": TEXT | {"format": "binary"}}
    infer["responses"]["200"]["content"]["application/octet-stream"] = binary
    content = {"application/json": {"schema": ref("InferRequest")}, "application/octet-stream": binary}
    infer["requestBody"] = {"required": True, "content": content}
    return infer


def schemas() -> Json:
    """What the paths refer to."""
    shape = listed({"type": "integer"})
    tensor = described("name datatype shape", name=TEXT, datatype=TEXT, shape=shape)
    values: Json = {"type": "array"}
    datatypes: Json = {"enum": ["BYTES", "FP32"]}
    given = described(
        "name datatype shape", name=TEXT, datatype=datatypes, shape=shape, parameters=ANYTHING, data=values
    )
    wanted = described("name", name=TEXT, parameters=ref("OutputParameters"))
    duration = described("count ns", count=COUNT, ns=COUNT)
    phases: Json = {"type": "object", "additionalProperties": duration}
    statistics = described(
        "name version last_inference inference_count execution_count inference_stats batch_stats",
        name=TEXT,
        version=TEXT,
        last_inference=COUNT,
        inference_count=COUNT,
        execution_count=COUNT,
        inference_stats=phases,
        batch_stats=listed(ANYTHING),
    )
    entry = described("name version state reason", name=TEXT, version=TEXT, state=TEXT, reason=TEXT)
    flag: Json = {"type": "boolean"}
    return {
        "Server": described("name version extensions", name=TEXT, version=TEXT, extensions=listed(TEXT)),
        "ServerHealth": described("live", live=flag, ready=flag, models={"type": "object"}, error=TEXT),
        "ModelReady": described("name ready", name=TEXT, ready=flag),
        "ModelMetadata": described(
            "name versions platform inputs outputs",
            name=TEXT,
            versions=listed(TEXT),
            platform=TEXT,
            inputs=listed(tensor),
            outputs=listed(tensor),
        ),
        "ModelConfiguration": described("name platform backend max_batch_size input output"),
        "Statistics": described("model_stats", model_stats=listed(statistics)),
        "Index": listed(entry),
        "Empty": described(),
        "OutputParameters": described(binary_data=flag, classification=COUNT),
        "InferRequest": described(
            "inputs",
            id=TEXT,
            parameters=described(binary_data_output=flag, priority=COUNT, timeout=COUNT),
            inputs=listed(given),
            outputs=listed(wanted),
        ),
        "InferResponse": described("model_name outputs", model_name=TEXT, model_version=TEXT, outputs=listed(given)),
    }
