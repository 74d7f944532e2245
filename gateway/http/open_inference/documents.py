"""What the Open Inference Protocol says about the server, its models and their counts. Pure: values in, JSON out."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

from gateway.http.model_facts import ModelFacts
from gateway.http.statistics import ModelStatistics, duration

SERVER_NAME = "edge-inference-gateway"
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
)
LABELS_FILE = "labels.txt"
"""Clients look at whether there is a name, not at the file: classes carry their labels."""
Json = dict[str, object]


def server_metadata() -> Json:
    """GET /v2."""
    return {"name": SERVER_NAME, "version": metadata.version(SERVER_NAME), "extensions": EXTENSIONS}


def model_metadata(facts: ModelFacts, versions: Iterable[str]) -> Json:
    """GET /v2/models/{model}. The input is the tensor, since clients that see two inputs send both; encoded images are
    taken under its name too."""
    tensors = facts.tensors
    inputs, outputs = [], []
    if tensors is not None:
        inputs = [{"name": tensors.input_name, "datatype": "FP32", "shape": [-1, *tensors.shape]}]
        outputs = [{"name": tensors.output_name, "datatype": "FP32", "shape": [-1, tensors.classes]}]
    return {
        "name": facts.name,
        "versions": list(versions),
        "platform": facts.engine,
        "inputs": inputs,
        "outputs": outputs,
    }


def model_config(facts: ModelFacts, max_batch_size: int) -> Json:
    """GET /v2/models/{model}/config: what perf_analyzer and image_client read, and how encoded images are sent."""
    tensors = facts.takes_tensors()
    form = f"FORMAT_{tensors.layout}" if tensors.layout in ("NHWC", "NCHW") else "FORMAT_NONE"
    given: Json = {"name": tensors.input_name, "data_type": "TYPE_FP32", "format": form, "dims": list(tensors.shape)}
    output: Json = {
        "name": tensors.output_name,
        "data_type": "TYPE_FP32",
        "dims": [tensors.classes],
        "label_filename": LABELS_FILE,
    }
    return {
        "name": facts.name,
        "platform": facts.engine,
        "backend": facts.engine,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": max_batch_size,
        "input": [given],
        "output": [output],
        "instance_group": [],
        "default_model_filename": "",
        "parameters": {
            "encoded_images": {
                "string_value": "datatype BYTES, shape [n] or [n, 1], under the input's name or image_bytes"
            },
            "weights": {"string_value": facts.weights},
        },
    }


def model_statistics(name: str, version: str, one: ModelStatistics) -> Json:
    """One entry of GET /v2/models/stats."""
    none = duration(0, 0.0)
    batches = dict(sorted(one.by_batch.items()))
    return {
        "name": name,
        "version": version,
        "last_inference": one.last_inference_ms,
        "inference_count": one.success.count,
        "execution_count": sum(-(-phases.count // size) for size, phases in batches.items()),
        "inference_stats": {
            "success": duration(one.success.count, one.success_s),
            "fail": duration(one.failed, one.failed_s),
            **one.success.documents(),
            "cache_hit": none,
            "cache_miss": none,
        },
        "batch_stats": [
            {"batch_size": size, **{k: v for k, v in phases.documents().items() if k != "queue"}}
            for size, phases in batches.items()
        ],
    }
