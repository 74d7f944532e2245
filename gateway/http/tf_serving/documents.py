"""What TensorFlow Serving and KServe v1 say of a model. Pure: values in, JSON out. Integers of protobuf are texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gateway.http.model_facts import ModelFacts

STATES = {"READY": "AVAILABLE", "LOADING": "LOADING", "UNAVAILABLE": "END"}

Json = dict[str, object]


def status(name: str, entries: Iterable[Mapping[str, str]]) -> Json:
    """TensorFlow Serving's versions and states, and KServe's name and readiness."""
    entries = list(entries)
    return {
        "model_version_status": [
            {
                "version": entry["version"],
                "state": STATES[entry["state"]],
                "status": {
                    "error_code": "OK" if entry["state"] != "UNAVAILABLE" else "UNAVAILABLE",
                    "error_message": entry["reason"] if entry["state"] == "UNAVAILABLE" else "",
                },
            }
            for entry in entries
        ],
        "name": name,
        "ready": any(entry["state"] == "READY" for entry in entries),
    }


def metadata(facts: ModelFacts) -> Json:
    """The one signature: a tensor in, probabilities out."""
    tensors = facts.takes_tensors()
    signature = {
        "inputs": {tensors.input_name: _tensor(tensors.input_name, tensors.shape)},
        "outputs": {tensors.output_name: _tensor(tensors.output_name, (tensors.classes,))},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": facts.name, "signature_name": "", "version": facts.version},
        "metadata": {
            "signature_def": {
                "@type": "type.googleapis.com/tensorflow.serving.SignatureDefMap",
                "signature_def": {"serving_default": signature},
            }
        },
    }


def _tensor(name: str, shape: Sequence[int]) -> Json:
    dimensions = [{"size": str(side), "name": ""} for side in (-1, *shape)]
    return {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": dimensions, "unknown_rank": False},
        "name": f"{name}:0",
    }
