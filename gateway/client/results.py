"""What an answer says, typed and frozen: labels, who answered, and where the time went.

An answer is a stranger's text until it was looked at here. What a newer gateway adds is in `Result.document`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.client.errors import ClientError, error_of

MAX_STAGES = 32
"""Stages of one answer that are looked at; the gateway names thirteen."""


@dataclass(frozen=True)
class Prediction:
    """One class that a model named."""

    index: int
    """From 0, as the model counts."""
    label: str
    probability: float
    """From 0 to 1."""


@dataclass(frozen=True)
class GroupAnswer:
    """What a `query` is answered with: whether the picture shows one of a named group of classes."""

    name: str
    is_yes: bool
    """Whether the probability is at least one half."""
    probability: float
    """The sum of the group's classes."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds of the try that was answered."""

    stages_ms: Mapping[str, float]
    """The gateway's stages in the order in which they happened, `total` last (docs/reference/http.md)."""
    client_ms: float
    """From the request's first byte to the answer's last, at this end."""
    waited_ms: float = 0.0
    """Earlier tries, and the waits between them."""
    is_shared: bool = False
    """Whether `client_ms` is of a request with several pictures."""

    @property
    def gateway_ms(self) -> float | None:
        """From the request's head at the gateway until its answer was ready; None where it did not say."""
        return self.stages_ms.get("total")

    @property
    def network_ms(self) -> float | None:
        """What is left for the way there and back, and connecting; None for a picture of a batch."""
        if self.gateway_ms is None or self.is_shared:
            return None
        return max(0.0, self.client_ms - self.gateway_ms)


@dataclass(frozen=True)
class Result:
    """One picture's labels."""

    name: str
    """The picture's path as it was given; for bytes and pixels their place in their request, from 0."""
    model: str
    version: str
    """Of the model; empty where the worker does not say."""
    weights: str
    """`random` for a model that was never trained; empty for any other."""
    predictions: Sequence[Prediction]
    """The likeliest first; none for a `query`."""
    group: GroupAnswer | None
    """The answer to a `query`; None for labels."""
    worker: str
    """Who answered; empty for a worker without a gateway."""
    request_id: str
    """Under which the gateway and the worker logged it."""
    batch_size: int | None
    """How many pictures were computed together; None where the worker makes no batches."""
    timing: Timing
    tries: int
    """1 if the first one was answered."""
    document: Mapping[str, object]
    """The whole answer, with what has no name here."""

    @property
    def label(self) -> str:
        """Of the likeliest class. Raises IndexError for a `query`, which asks for none."""
        return self.predictions[0].label

    @property
    def index(self) -> int:
        """Of the likeliest class, as `label`."""
        return self.predictions[0].index

    @property
    def probability(self) -> float:
        """Of the likeliest class, or of the group that was asked for."""
        return self.group.probability if self.group else self.predictions[0].probability


Outcome = Result | ClientError
"""What becomes of one picture of many."""


@dataclass(frozen=True)
class Reading:
    """What is known beside the answer itself."""

    request_id: str
    timing: Timing
    tries: int


def result_of(name: str, entry: object, reading: Reading) -> Outcome:
    """From one picture's answer: an object with predictions, or the members of an error."""
    if not isinstance(entry, dict):
        return error_of("bad_answer", "an entry is no object", status=200, request_id=reading.request_id)
    status = entry.get("status", 200)
    if "code" in entry and isinstance(status, int):
        return error_of(str(entry["code"]), str(entry.get("detail", "")), status=status, request_id=reading.request_id)
    try:
        group = _group(entry) if "query" in entry else None
        predictions = () if group else _predictions(entry)
    except (KeyError, TypeError, ValueError):
        return error_of("no_predictions", status=200, request_id=reading.request_id)
    if not predictions and group is None:
        return error_of("no_predictions", status=200, request_id=reading.request_id)
    batch_size = entry.get("batch_size")
    return Result(
        name=name,
        model=_text(entry, "model"),
        version=_text(entry, "model_version"),
        weights=_text(entry, "weights"),
        predictions=predictions,
        group=group,
        worker=_text(entry, "worker"),
        request_id=_text(entry, "request_id") or reading.request_id,
        batch_size=batch_size if isinstance(batch_size, int) else None,
        timing=Timing(
            reading.timing.stages_ms or stages_of(entry.get("timing_ms")),  # the header has the total, too
            reading.timing.client_ms,
            reading.timing.waited_ms,
            reading.timing.is_shared,
        ),
        tries=reading.tries,
        document=entry,
    )


def stages_of(timing_ms: object) -> dict[str, float]:
    """From an answer's `timing_ms`: the stages that are numbers, in order."""
    if not isinstance(timing_ms, dict):
        return {}
    named = list(timing_ms.items())[:MAX_STAGES]
    return {str(name): float(value) for name, value in named if isinstance(value, int | float) and math.isfinite(value)}


def stages_of_header(header: str) -> dict[str, float]:
    """From a Server-Timing header (W3C Server Timing 3), in order; what has no duration is left out."""
    stages: dict[str, float] = {}
    for entry in header.split(",", MAX_STAGES)[:MAX_STAGES]:
        name, *parameters = entry.strip().split(";")
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "dur":
                try:
                    stages[name.strip()[:32]] = float(value.strip().strip('"'))
                except ValueError:
                    break
    return stages


def _predictions(entry: Mapping[str, Any]) -> tuple[Prediction, ...]:
    """Any: JSON. Raises KeyError, TypeError and ValueError for what is none."""
    return tuple(
        Prediction(int(one["index"]), str(one["label"]), float(one["probability"])) for one in entry["predictions"]
    )


def _group(entry: Mapping[str, Any]) -> GroupAnswer:
    """Any: JSON. Raises KeyError, TypeError and ValueError for what is none."""
    return GroupAnswer(str(entry["query"]), bool(entry["answer"]), float(entry["probability"]))


def _text(entry: Mapping[str, object], member: str) -> str:
    value = entry.get(member, "")
    return value if isinstance(value, str) else ""
