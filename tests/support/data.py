"""Finds the data that is too large, or not ours, to be in the repository; a test that needs it is skipped without.

The place is the environment's SHARED_DATA, or `../shared/data` beside the repository.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Photograph:
    """One line of labels.csv."""

    path: Path
    class_index: int
    """What is to be seen, as the model counts (0 is background)."""
    model_index: int
    """What MobileNet v2 answered when the table was made."""
    model_probability: float


def shared_data() -> Path:
    """The folder of real data. Skips the test that asks when it is not there."""
    place = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (place / "images" / "labels.csv").is_file():
        pytest.skip(f"the real data is not there: {place} (set SHARED_DATA to its place)")
    return place


def model_dir() -> Path:
    """The folder of model folders, mobilenet_v2 among them."""
    return shared_data() / "models"


def photographs() -> list[Photograph]:
    """The labelled photographs, 64 of them."""
    images = shared_data() / "images"
    with (images / "labels.csv").open(newline="", encoding="utf-8") as table:
        return [
            Photograph(
                path=images / row["file"],
                class_index=int(row["class_index"]),
                model_index=int(row["mobilenet_v2_top1_index"]),
                model_probability=float(row["mobilenet_v2_top1_probability"]),
            )
            for row in csv.DictReader(table)
        ]
