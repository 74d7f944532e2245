"""Makes one model of the catalogue a model folder: from the network, from files brought by hand, or from a seed.

The order is fixed: files are had and verified, the network is made from them, and the folder is put in place whole. A
worker finds it when it starts. TensorFlow is imported only for what needs it: Keras's models, and random weights.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from edge_worker.backends.native_log import native_lines
from edge_worker.models.catalogue import CatalogueModel, RemoteFile
from edge_worker.models.description import description
from edge_worker.models.groups import imagenet_groups
from edge_worker.models.labels import archive_members, labels_of_index, labels_of_lines, labels_of_nothing
from edge_worker.models.progress import Progress
from edge_worker.models.spec import RANDOM, SpecError
from edge_worker.models.store import Store, StoreError

IMAGENET = "imagenet"
WEIGHTS = (IMAGENET, RANDOM)


class PullFailed(Exception):
    """The model was not installed; the text says why, and where it can what to do."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be had."""

    model: CatalogueModel
    weights: str
    """One of WEIGHTS."""
    seed: int
    """Of random weights."""
    format: str
    """One of the model's formats."""
    source: Path | None
    """The file, or the folder of files, that was brought by hand; None downloads."""
    folder: Path
    """Of the model folders; it is made if it is not there."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A network and what is said about it."""

    network: bytes
    file: str
    labels: Sequence[str]
    groups: Mapping[str, Sequence[int]]
    weights: str
    version: str


def pull(order: Order, progress: Progress) -> Path:
    """The folder of the installed model. Raises PullFailed."""
    if order.format not in order.model.formats:
        raise PullFailed(f"{order.model.name} can be had as {', '.join(order.model.formats)}, not as {order.format}")
    store = Store(order.folder)
    try:
        with store.locked():
            made = _random(order) if order.weights == RANDOM else _published(order, store, progress)
            place = store.put(order.model.name, _files(order, made))
            for file in order.model.files:
                store.drop_download(file.name)
            return place
    except (StoreError, SpecError, ValueError, OSError, ImportError) as error:
        raise PullFailed(str(error)) from error


def _files(order: Order, made: _Made) -> dict[str, bytes]:
    text = description(
        order.model,
        version=made.version,
        file=made.file,
        sha256=hashlib.sha256(made.network).hexdigest(),
        format=order.format,
        weights=made.weights,
        groups=made.groups,
    )
    lines = "".join(f"{label}\n" for label in made.labels)
    return {made.file: made.network, "labels.txt": lines.encode(), "model.toml": text.encode()}


# --- with published weights -------------------------------------------------------------------------------------------


def _published(order: Order, store: Store, progress: Progress) -> _Made:
    model = order.model
    if not model.architecture:
        return _from_archive(order, store, progress)
    networks = _networks()  # before anything large is downloaded for it
    paths = [_had(order, file, store, progress) for file in model.files]
    labels = labels_of_index(paths[1])
    if len(labels) != model.classes:
        raise SpecError(f"{paths[1]}: has {len(labels)} classes; {model.name} has {model.classes}")
    network, file = _built(order, networks, networks.published(model.architecture, paths[0]))
    source = f"keras.applications.{model.architecture}, {model.weights.name}; {model.licence}"
    return _Made(network, file, labels, imagenet_groups(labels), source, f"{IMAGENET}-1")


def _from_archive(order: Order, store: Store, progress: Progress) -> _Made:
    model = order.model
    network, text = model.members
    unpacked = _unpacked(order)
    archive = None if unpacked else _had(order, model.weights, store, progress)
    members = unpacked or archive_members(archive or Path(), model.members)
    for one in model.members:
        if f"sha256:{hashlib.sha256(members[one.name]).hexdigest()}" != one.checksum:
            raise SpecError(
                f"{order.source or archive}: {one.name} is another file: its checksum is not {one.checksum}"
            )
    labels = labels_of_lines(members[text.name], model)
    source = f"{model.weights.url}; {model.licence}"
    return _Made(members[network.name], network.name, labels, imagenet_groups(labels), source, f"{IMAGENET}-1")


def _unpacked(order: Order) -> dict[str, bytes] | None:
    """The archive's files, when somebody unpacked it; None if they are not all there."""
    if order.source is None or not order.source.is_dir():
        return None
    paths = [order.source / one.name for one in order.model.members]
    if not all(path.is_file() for path in paths):
        return None
    return {path.name: path.read_bytes() for path in paths}


def _had(order: Order, file: RemoteFile, store: Store, progress: Progress) -> Path:
    """The verified file: brought by hand, or downloaded. Raises PullFailed."""
    try:
        from edge_worker.models.download import DownloadFailed, download, is_right
    except ImportError as error:
        if error.name != "requests":
            raise
        raise PullFailed("models pull needs requests: pip install '.[models]'") from error
    if order.source is None:
        try:
            return download(file, store.downloads, progress)
        except DownloadFailed as error:
            raise PullFailed(f"{error}\n{_by_hand(order)}") from error
    path = _brought(order, file)
    if not is_right(file, path):
        raise PullFailed(f"{path}: is not {file.name}: its checksum is not {file.checksum or 'that of any content'}")
    return path


def _brought(order: Order, file: RemoteFile) -> Path:
    """A folder has files by their names; a file is the weights, whatever it is called, and the others lie beside it."""
    source = order.source
    assert source is not None
    if source.is_file() and file == order.model.weights:
        return source
    path = (source if source.is_dir() else source.parent) / file.name
    if not path.is_file():
        raise PullFailed(f"{path}: there is no such file\n{_by_hand(order)}")
    return path


def _by_hand(order: Order) -> str:
    """What to do on a machine that cannot reach the files."""
    urls = "\n".join(f"    {file.url}" for file in order.model.files)
    format = "" if order.format == order.model.formats[0] else f" --format {order.format}"
    command = f"edge-worker models pull {order.model.name} --model-dir {order.folder}{format} --from FOLDER"
    how = "put all of it into one folder here, and run"
    return f"Without a network: fetch on another machine\n{urls}\n{how}\n    {command}"


# --- with random weights ----------------------------------------------------------------------------------------------


def _random(order: Order) -> _Made:
    model, networks = order.model, _networks()
    labels, groups = labels_of_nothing(model)
    pixels = model.input
    if model.architecture:
        made = networks.random(model.architecture, order.seed, pixels.mean, pixels.scale)
        network, file = _built(order, networks, made)
    else:
        network, file = networks.random_googlenet(order.seed, pixels.mean, pixels.scale), f"{model.name}.pb"
    weights = f"{RANDOM} (seed {order.seed})"
    return _Made(network, file, labels, groups, weights, f"{RANDOM}-{order.seed}")


# --- TensorFlow -------------------------------------------------------------------------------------------------------


def _built(order: Order, networks: ModuleType, model: Any) -> tuple[bytes, str]:
    """A Keras model in the format that was asked for, and its file's name."""
    if order.format == "keras":
        with tempfile.TemporaryDirectory(prefix="keras-") as folder:
            return networks.keras_bytes(model, Path(folder) / "model.keras"), f"{order.model.name}.keras"
    return networks.frozen_graph(model), f"{order.model.name}.pb"


def _networks() -> ModuleType:
    """What makes networks; loads TensorFlow. Raises PullFailed with the command to install it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its native log tells of processors and drivers
    try:
        with native_lines([]):  # what it logs before it has read that variable
            from edge_worker.models import networks
    except ImportError as error:
        if error.name not in ("tensorflow", "numpy"):
            raise
        raise PullFailed(
            f"this model is made on this machine, which needs {error.name}: pip install '.[models,tensorflow]'"
        ) from error
    return networks
