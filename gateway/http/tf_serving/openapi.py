"""TensorFlow Serving's API and KServe's v1 in OpenAPI's words, for the gateway's document."""

from __future__ import annotations

from gateway.http.openapi_parts import (
    TEXT,
    Json,
    asked,
    described,
    listed,
    model_name,
    operation,
    parameter,
    ref,
    version,
)
from gateway.http.tf_serving.routes import ROOT, TARGETS


def paths() -> Json:
    """Every path under /v1/models."""
    found: Json = {ROOT: {"get": operation("Models that workers announce (KServe)", "ModelNames", [])}}
    for target in TARGETS:
        named = [model_name()]
        if "{version}" in target:
            named.append(version())
        if "{label}" in target:
            named.append(parameter("path", "label", TEXT, "latest or stable: any version", required=True))
        found |= {
            f"{target}:predict": {"post": _asked("Probabilities for images or tensors", "Predict", named)},
            f"{target}:classify": {"post": _asked("Labels and scores for images", "Classify", named)},
            target: {"get": operation("Versions and states; readiness (KServe)", "ModelStatus", named)},
            f"{target}/metadata": {"get": operation("The signature", "ModelSignature", named)},
        }
    return found


def _asked(summary: str, schema: str, named: list[Json]) -> Json:
    body = {"required": True, "content": {"application/json": {"schema": ref(f"{schema}Request")}}}
    return operation(summary, f"{schema}Response", named + asked()) | {"requestBody": body}


def schemas() -> Json:
    """What the paths refer to."""
    rows = listed(listed({"type": "number"}))
    anything: Json = {}
    image = described("b64", b64=TEXT)
    version_status = described("version state status", version=TEXT, state=TEXT, status={"type": "object"})
    return {
        "ModelNames": described("models", models=listed(TEXT)),
        "ModelStatus": described(
            "model_version_status name ready",
            model_version_status=listed(version_status),
            name=TEXT,
            ready={"type": "boolean"},
        ),
        "ModelSignature": described("model_spec metadata"),
        "PredictRequest": described(signature_name=TEXT, instances=listed(anything), inputs=anything),
        "PredictResponse": described(predictions=rows, outputs=rows),
        "ClassifyRequest": described("examples", signature_name=TEXT, examples=listed(described("image", image=image))),
        "ClassifyResponse": described("results", results=listed(listed({"type": "array"}))),
    }
