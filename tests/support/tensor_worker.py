"""A dispatcher whose one worker serves a small image model with tensors: what the standard APIs are tested against.

Its input `image` is FP32 [-1, 2, 2, 1], its output `probabilities` FP32 [-1, 3]. It answers as the inference exchange
says (docs/reference/inference-exchange.md): ROW, the same labels, or what `answers` has for a body.
"""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from gateway.dispatch.model import Job, ModelOffer, Reply
from tests.support.http_gateway import FakeDispatcher

ROW = (0.25, 0.625, 0.125)
NAMES = ("cat", "dog", "cow")
TENSOR = struct.pack("<4f", 1.0, 2.0, 3.0, 4.0)
"""One picture of the model's input."""
METADATA: dict[str, object] = {
    "engine": "opencv_dnn",
    "weights": "trained",
    "input": {"name": "image", "datatype": "FP32", "shape": [-1, 2, 2, 1], "layout": "NHWC"},
    "output": {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
    "labels": 3,
}


def offer(**changes: object) -> ModelOffer:
    """The model's announcement."""
    return ModelOffer("pets", "1", 2, metadata=METADATA | changes)


@dataclass(eq=False)
class TensorDispatcher(FakeDispatcher):
    """`rows` has other rows by the body's bytes."""

    models: dict[str, int] = field(default_factory=lambda: {"pets": 1, "absent": 0})
    offers: dict[str, ModelOffer] = field(default_factory=lambda: {"pets": offer()})
    rows: dict[bytes, tuple[float, ...]] = field(default_factory=dict)
    state: str = "ready"
    """Of every model, in the operator's view."""
    raw_metadata: dict[str, str] = field(default_factory=dict)
    """What the head of a raw answer says otherwise than it should."""

    async def _reply(self, job: Job) -> Reply:
        reply = await super()._reply(job)
        query = parse_qs(job.path.partition("?")[2])
        body = b"".join([piece async for piece in job.body.chunks()])
        if body in self.answers:
            return reply
        row = self.rows.get(body, ROW)
        if "output" in query:
            said = {
                "content-type": "application/vnd.tensor",
                "tensor-datatype": "FP32",
                "tensor-shape": f"1,{len(row)}",
            }
            return Reply(
                200, list((said | self.raw_metadata).items()), once(struct.pack(f"<{len(row)}f", *row)), reply.timing
            )
        best = sorted(range(len(row)), key=lambda index: -row[index])[: int(query["top"][0])]
        labels = [{"index": index, "label": NAMES[index], "probability": row[index]} for index in best]
        answer = {"model": "pets", "model_version": "1", "predictions": labels}
        return Reply(200, (), once(json.dumps(answer).encode()), reply.timing)

    def workers_view(self) -> Sequence[Mapping[str, object]]:
        models = [{"model": name, "version": one.version, "state": self.state} for name, one in self.offers.items()]
        return [{"worker": "w1", "rtt_ms": 20.5, "draining": False, "about": {}, "models": models}]


async def once(body: bytes) -> AsyncIterator[bytes]:
    """A body in one piece."""
    yield body
