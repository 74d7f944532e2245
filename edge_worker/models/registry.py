"""Finds the models of a worker: folders with a `model.toml`, and folders that a shipped description fits.

A folder is untrusted: names are checked before files are opened, sizes before files are read, and the network's
SHA-256 before an engine sees it. A broken model is returned with its reason and never hides the others.
Loads no engine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_worker.models.spec import FOLDER_FORMATS, MAX_LABELS, MAX_TEXT, ModelSpec, SpecError, parse_spec

DESCRIPTION = "model.toml"
_INSIDE = re.compile(r"[A-Za-z0-9._/-]{1,400}")
EMBEDDED = Path(__file__).parent / "digits"
"""The one model that is shipped whole."""
KNOWN = Path(__file__).parent / "known"
"""Descriptions of published models: `<name>.toml` fits a folder `<name>`, or one with a file of its SHA-256."""

MAX_DESCRIPTION_BYTES = 1 << 20
MAX_LABELS_BYTES = 64 << 20
MAX_MODEL_BYTES = 4 << 30
"""A protobuf cannot be over 2 GiB; twice that leaves room for formats without that limit."""
MAX_FOLDERS = 1000
MAX_MODEL_FILES = 1000
"""Files of one saved-model: it has a graph, a handful of shards and, seldom, vocabularies."""

Content = bytes | Mapping[str, bytes]
"""A network's file; or a folder's files, each under its path in the folder, in the order of the paths."""


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model that a folder describes, whole or broken."""

    name: str
    folder: Path
    spec: ModelSpec | None = None
    """None when there is a failure."""
    labels: tuple[str, ...] = ()
    failure: str = ""
    """Which file and why; empty when the model can be loaded."""


def find_models(model_dirs: Sequence[Path], embedded: bool = True) -> list[FoundModel]:
    """Every model of the folders, in their order and then by name, each name once.

    A model dir is a folder of model folders, or itself a model folder. `embedded` adds the shipped model unless a
    folder has one of its name. Of two models with one name the first is kept, the second becomes a failure.
    Raises SpecError when a model dir is not a folder or holds no model at all.
    """
    models: dict[str, FoundModel] = {}
    for model_dir in model_dirs:
        for model in _models_in(model_dir):
            if model.name in models:
                first = models[model.name].folder
                model = _failed(_free_name(model, models), model.folder, f"{first} has the name {model.name!r} already")
            models[model.name] = model
    if embedded:
        model = read_model(EMBEDDED)
        models.setdefault(model.name, model)
    return list(models.values())


def only(models: Sequence[FoundModel], names: Sequence[str]) -> list[FoundModel]:
    """The models of these names; all when none is named. Raises SpecError for a name that none has."""
    found = {model.name: model for model in models}
    for name in names:
        if name not in found:
            raise SpecError(f"model = {name!r}: is not here; there are: {', '.join(found) or 'none'}")
    return [found[name] for name in dict.fromkeys(names)] if names else list(models)


def read_model(folder: Path) -> FoundModel:
    """Reads one folder's description and labels. Never raises: a reason is in `failure`."""
    folder = folder.resolve()
    try:
        spec = _describe(folder)
        labels = _read_labels(spec, folder)
        _check_groups(spec, len(labels))
        return FoundModel(spec.name, folder, spec, labels)
    except (SpecError, OSError) as error:
        return _failed(folder.name, folder, str(error))


def read_verified(model: FoundModel) -> Content:
    """The network's file, whole, once its SHA-256 is what the description says. Raises SpecError or OSError.

    What was verified is what the engine is given: the file is not opened a second time.
    """
    assert model.spec is not None, model.failure
    path = model.folder / model.spec.file
    content: Content
    if model.spec.format in FOLDER_FORMATS:
        content = _read_folder(path)
        found = folder_sha256(content)
    else:
        content = _read_bytes(path, MAX_MODEL_BYTES)
        found = hashlib.sha256(content).hexdigest()
    if found != model.spec.sha256:
        raise SpecError(f"{path}: its SHA-256 is {found}, but model.toml says {model.spec.sha256}")
    return content


def folder_sha256(files: Mapping[str, bytes]) -> str:
    """The SHA-256 of what `find . -type f | LC_ALL=C sort | xargs sha256sum` prints in the folder."""
    lines = [f"{hashlib.sha256(files[path]).hexdigest()}  ./{path}\n" for path in sorted(files, key=str.encode)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _models_in(model_dir: Path) -> Iterator[FoundModel]:
    if not model_dir.is_dir():
        raise SpecError(f"--model-dir {model_dir}: is not a folder")
    if _has_description(model_dir):
        yield read_model(model_dir)
        return
    try:
        folders = sorted(entry for entry in model_dir.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise SpecError(f"--model-dir {model_dir}: cannot be read: {error.strerror}") from error
    if not folders:
        raise SpecError(f"--model-dir {model_dir}: has neither a {DESCRIPTION} nor a folder that could have one")
    if len(folders) > MAX_FOLDERS:
        raise SpecError(f"--model-dir {model_dir}: has {len(folders)} folders; at most {MAX_FOLDERS} are read")
    yield from (read_model(folder) for folder in folders)


def _has_description(folder: Path) -> bool:
    """Whether this folder is a model: it has a description, or is one that a shipped description fits."""
    return (folder / DESCRIPTION).is_file() or _known_description(folder) is not None


def _describe(folder: Path) -> ModelSpec:
    path = folder / DESCRIPTION
    if not path.is_file():
        known = _known_description(folder)
        if known is None:
            raise SpecError(f"{folder}: has no {DESCRIPTION}, and no shipped description fits")
        path = known
    try:
        return parse_spec(_read_text(path, MAX_DESCRIPTION_BYTES))
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error


def _known_description(folder: Path) -> Path | None:
    """The shipped description for a folder without its own: by the folder's name, else by a file's SHA-256.

    Only files as the description names them are compared, so that no large file is read for nothing.
    """
    by_name = KNOWN / f"{folder.name}.toml"
    if by_name.is_file():
        return by_name
    for path in sorted(KNOWN.glob("*.toml")):
        spec = parse_spec(path.read_text(encoding="utf-8"))
        file = folder / spec.file
        if file.is_file() and _sha256(file) == spec.sha256:
            return path
    return None


def _read_labels(spec: ModelSpec, folder: Path) -> tuple[str, ...]:
    if not spec.labels_file:
        return spec.labels
    path = folder / spec.labels_file
    labels = tuple(line.strip() for line in _read_text(path, MAX_LABELS_BYTES).removesuffix("\n").split("\n"))
    if len(labels) > MAX_LABELS or any(len(label) > MAX_TEXT for label in labels):
        raise SpecError(f"{path}: over {MAX_LABELS} lines, or a line over {MAX_TEXT} characters")
    return labels


def _check_groups(spec: ModelSpec, labels: int) -> None:
    for name, indices in spec.groups.items():
        if indices[-1] >= labels:
            raise SpecError(f"groups.{name}: has the class {indices[-1]}, but the {labels} labels end at {labels - 1}")


def _read_text(path: Path, limit_bytes: int) -> str:
    try:
        return _read_bytes(path, limit_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: is not UTF-8 at byte {error.start}") from error


def _read_bytes(path: Path, limit_bytes: int) -> bytes:
    if not path.is_file():
        raise SpecError(f"{path}: there is no such file")
    size = path.stat().st_size
    if size > limit_bytes:
        raise SpecError(f"{path}: {size} bytes; at most {limit_bytes} are read")
    return path.read_bytes()


def _read_folder(folder: Path) -> dict[str, bytes]:
    """Every file of a network that is a folder. Raises SpecError for a link, an odd name, or too much of it."""
    if not folder.is_dir():
        raise SpecError(f"{folder}: there is no such folder")
    files: dict[str, bytes] = {}
    left = MAX_MODEL_BYTES
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not _INSIDE.fullmatch(name):
            raise SpecError(f"{path}: is a link, or its name has other than letters, digits, '.', '_' and '-'")
        if path.is_file():
            files[name] = _read_bytes(path, left)
            left -= len(files[name])
        if len(files) > MAX_MODEL_FILES:
            raise SpecError(f"{folder}: has over {MAX_MODEL_FILES} files")
    return files


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _failed(name: str, folder: Path, failure: str) -> FoundModel:
    """Under a name that is fit to be announced, whatever the folder is called."""
    announced = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:100] or "unnamed"
    return FoundModel(announced, folder, failure=failure)


def _free_name(model: FoundModel, taken: dict[str, FoundModel]) -> str:
    number = 2
    while f"{model.name}-{number}" in taken:
        number += 1
    return f"{model.name}-{number}"
