"""The likeliest classes in a worker's answer (`?top=N`), which each API writes in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.errors import WorkerFailed


@dataclass(frozen=True, slots=True)
class Label:
    """One class of one image."""

    index: int
    name: str
    probability: float


def labels_of(result: Mapping[str, object], worker: str) -> list[Label]:
    """By falling probability, as the worker sent them. Raises WorkerFailed for what is no such answer."""
    entries = result.get("predictions")
    labels = [_label(entry) for entry in entries] if isinstance(entries, list) else []
    known = [label for label in labels if label is not None]
    if not known or len(known) < len(labels):
        raise WorkerFailed(f"worker {worker} answered without usable predictions")
    return known


def _label(entry: object) -> Label | None:
    if not isinstance(entry, Mapping):
        return None
    index, name, probability = entry.get("index"), entry.get("label"), entry.get("probability")
    is_label = type(index) is int and isinstance(name, str) and isinstance(probability, int | float)
    return Label(index, name, float(probability)) if is_label else None  # type: ignore[arg-type] # just looked at
