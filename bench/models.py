"""The model that a tool computes with by itself, without a gateway: found as a worker does, refused with a reason."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.errors import BenchError
from edge_worker.models.registry import FoundModel, find_models


def add_model_flags(parser: argparse.ArgumentParser, default: str, note: str = "") -> None:
    """`--model` and `--model-dir`, whose values `found_model` takes; `note` follows the default in the help."""
    parser.add_argument("--model", default=default, help=f"default: {default}{note}")
    parser.add_argument(
        "--model-dir",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="model folders, or one; repeatable",
    )


def found_model(name: str, folders: Sequence[Path]) -> FoundModel:
    """One with a description that can be used. Raises BenchError for any other."""
    found = {one.name: one for one in find_models(folders)}
    if name not in found:
        raise BenchError(f"there is no model {name}; there are {', '.join(found)} (--model-dir FOLDER adds others)")
    if found[name].spec is None:
        raise BenchError(f"the model {name} cannot be served: {found[name].failure}")
    return found[name]
