"""An inference response of the Open Inference Protocol: JSON, then perhaps the output's bytes. Values in, bytes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.errors import WorkerFailed
from gateway.http.json_body import compact, finite_text
from gateway.http.labels import Label
from gateway.http.model_facts import FP32_BYTES
from gateway.http.open_inference.request import LENGTH_BYTES

HEADER_LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True, slots=True)
class Output:
    """One output's values, in the forms that the protocol has for them."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes
    """Binary: row-major, BYTES with their lengths."""
    json_text: str
    """What stands between the brackets of `data`; empty when the output is binary."""
    is_binary: bool


def probabilities(name: str, rows: Sequence[bytes], classes: int, *, is_binary: bool) -> Output:
    """FP32 of shape [n, classes]. Raises WorkerFailed for rows of another size, and for what JSON cannot write."""
    data = rows[0] if len(rows) == 1 else b"".join(rows)
    if any(len(row) != classes * FP32_BYTES for row in rows):
        raise WorkerFailed(f"the worker answered with another number of classes than the {classes} that it announced")
    return Output(name, "FP32", (len(rows), classes), data, "" if is_binary else finite_text(data), is_binary)


def classes(name: str, images: Sequence[Sequence[Label]], *, is_binary: bool) -> Output:
    """BYTES of shape [n, N]: `probability:index:label`, the likeliest first. Raises WorkerFailed if workers differ."""
    if any(len(image) != len(images[0]) for image in images):
        raise WorkerFailed("the workers answered with different numbers of classes")
    texts = [f"{label.probability:f}:{label.index}:{label.name}" for image in images for label in image]
    shape = (len(images), len(images[0]))
    if is_binary:
        encoded = [text.encode(errors="replace") for text in texts]
        data = b"".join(len(one).to_bytes(LENGTH_BYTES, "little") + one for one in encoded)
        return Output(name, "BYTES", shape, data, "", is_binary)
    return Output(name, "BYTES", shape, b"", compact(texts)[1:-1], is_binary)


def infer_response(model: str, version: str, request_id: str, weights: str, output: Output) -> tuple[bytes, int | None]:
    """The body, and the length of its JSON if something follows it. What is empty is left out."""
    document: dict[str, object] = {"model_name": model}
    if version:
        document["model_version"] = version
    if request_id:
        document["id"] = request_id
    if weights:
        document["parameters"] = {"weights": weights}
    shown: dict[str, object] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
    if not output.is_binary:
        head = compact(document | {"outputs": [shown]})
        return f'{head[:-3]},"data":[{output.json_text}]}}]}}'.encode(), None
    shown["parameters"] = {"binary_data_size": len(output.data)}
    header = compact(document | {"outputs": [shown]}).encode()
    return header + output.data, len(header) if output.data else None
