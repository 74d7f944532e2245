"""`edge-worker models`: which models are here, which could be, and how one gets here. No worker is needed for it.

A worker looks for models when it starts: one that runs serves a pulled model after a restart.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_worker.config import ConfigError
from edge_worker.models.catalogue import CATALOGUE, CatalogueModel, known_model
from edge_worker.models.inventory import details, listing, state_of
from edge_worker.models.registry import FoundModel, find_models
from edge_worker.models.spec import SpecError
from edge_worker.option import Option, read_options
from edge_worker.options import CONNECT

MODELS = "models"
_MAX_SEED = 1 << 32
_WEIGHTS = ("imagenet", "random")

_MODEL_DIRS = tuple(option for option in CONNECT if option.flag == "model-dir")

Add = Callable[..., argparse.ArgumentParser]
"""(name, run, options, help, more) -> the parser of a command."""


def _one_folder(text: str) -> Path:
    if not text or "," in text or (Path(text).exists() and not Path(text).is_dir()):
        raise ValueError("must be one folder")
    return Path(text)


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text) <= _MAX_SEED:
        raise ValueError(f"must be a whole number from 0 to {_MAX_SEED}")
    return int(text)


def _weights(text: str) -> str:
    if text not in _WEIGHTS:
        raise ValueError(f"must be one of {', '.join(_WEIGHTS)}")
    return text


def _there(text: str) -> Path | None:
    if text and not Path(text).exists():
        raise ValueError("there is no such file or folder")
    return Path(text) if text else None


PULL = (
    Option("model-dir", "MODEL_DIR", _one_folder, "models", "the folder of model folders", MODELS, "FOLDER"),
    Option("weights", "PULL_WEIGHTS", _weights, "imagenet", "trained ones, or drawn", MODELS, "|".join(_WEIGHTS)),
    Option("seed", "PULL_SEED", _seed, "0", "of random weights", MODELS, "NUMBER"),
    Option("format", "PULL_FORMAT", str, "tf-frozen", "for both engines, or Keras's own", MODELS, "tf-frozen|keras"),
    Option("from", "PULL_FROM", _there, "", "what was fetched by hand; nothing is downloaded", MODELS, "FILE|FOLDER"),
)
"""Of `models pull`."""


def add_models_commands(add: Add) -> None:
    """Adds `list`, `show`, `pull` and `verify`."""
    add(
        "list",
        _list,
        _MODEL_DIRS,
        "models that are here, and that could be",
        "What is in the model folders and can be pulled.",
    )
    show = add(
        "show", _show, _MODEL_DIRS, "everything about one model", "Says everything that is known about one model."
    )
    show.add_argument("model", metavar="MODEL", help="its name")
    pull = add(
        "pull",
        _pull,
        PULL,
        "get a published model, or make it with random weights",
        "Downloads and verifies a published model, and puts it into a model folder. What broke off is continued by the "
        "same command. Workers that run serve it after a restart.",
    )
    pull.add_argument("model", metavar="MODEL", help=", ".join(model.name for model in CATALOGUE))
    verify = add(
        "verify",
        _verify,
        _MODEL_DIRS,
        "compare models with their checksums",
        "Reads every byte of the models that are named, or of all, and compares the checksums.",
    )
    verify.add_argument("model", metavar="MODEL", nargs="*", help="names; all if there is none")


def _list(flags: argparse.Namespace) -> int:
    print(listing(_found(flags)))
    return 0


def _show(flags: argparse.Namespace) -> int:
    try:
        print(details(flags.model, _found(flags)))
    except LookupError as error:
        raise ConfigError(f"model = {error.args[0]}") from error
    return 0


def _verify(flags: argparse.Namespace) -> int:
    states = state_of(_found(flags), flags.model)
    for name, failure in states.items():
        print(f"{name}: {failure or 'ok'}")
    return 1 if any(states.values()) else 0


def _pull(flags: argparse.Namespace) -> int:
    from edge_worker.models.progress import progress_for
    from edge_worker.models.pull import Order, PullFailed, pull

    values = _values(PULL, flags)
    model = _known(flags.model)
    _check_together(values)
    order = Order(model, values["weights"], values["seed"], values["format"], values["from"], values["model-dir"])
    try:
        place = pull(order, progress_for())
    except PullFailed as error:
        print(f"edge-worker: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("edge-worker: stopped; the same command goes on from here", file=sys.stderr)
        return 128 + signal.SIGINT
    print(f"{model.name}: installed in {place}")
    return 0


def _check_together(values: Mapping[str, Any]) -> None:
    if values["weights"] == "imagenet" and values["seed"]:
        raise ConfigError(f"--seed = {values['seed']}: goes with --weights random")
    if values["weights"] == "random" and values["from"]:
        raise ConfigError(f"--from = {str(values['from'])!r}: random weights are made, not brought")


def _known(name: str) -> CatalogueModel:
    try:
        return known_model(name)
    except LookupError as error:
        raise ConfigError(f"model = {error.args[0]}") from error


def _found(flags: argparse.Namespace) -> list[FoundModel]:
    try:
        return find_models(_values(_MODEL_DIRS, flags)["model-dir"])
    except SpecError as error:
        raise ConfigError(str(error)) from error


def _values(options: Sequence[Option], flags: argparse.Namespace) -> Mapping[str, Any]:  # Any: as for Option.read
    problems: dict[str, list[str]] = {}
    values = read_options(options, flags, os.environ, problems)
    if problems:
        raise ConfigError("\n".join(line for lines in problems.values() for line in lines))
    return values
