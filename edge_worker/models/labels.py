"""The labels of ImageNet's models, out of the files that are published with them. Bounded first, parsed second."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from edge_worker.models.catalogue import CatalogueModel, RemoteFile
from edge_worker.models.spec import SpecError

MAX_MEMBER_BYTES = 200_000_000
"""The largest network of an archive here has 54 MB."""
_MAX_INDEX_BYTES = 1 << 20


def archive_members(archive: Path, wanted: tuple[RemoteFile, ...]) -> dict[str, bytes]:
    """The wanted files of a zip archive, by name. Raises SpecError.

    Only these names are looked up, and nothing is unpacked to a path that the archive chooses; no more is read than
    MAX_MEMBER_BYTES, whatever its directory says.
    """
    found = {}
    try:
        with zipfile.ZipFile(archive) as opened:
            for one in wanted:
                with opened.open(one.name) as member:
                    content = member.read(MAX_MEMBER_BYTES + 1)
                if len(content) > MAX_MEMBER_BYTES:
                    raise SpecError(f"{archive}: {one.name} has over {MAX_MEMBER_BYTES} bytes")
                found[one.name] = content
    except KeyError as error:
        raise SpecError(f"{archive}: {error.args[0]}") from error
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError) as error:  # RuntimeError: encrypted
        raise SpecError(f"{archive}: is no whole zip archive: {error}") from error
    return found


def labels_of_lines(text: bytes, model: CatalogueModel) -> list[str]:
    """A label a line; a network with more outputs than labels gets names for those that were never trained."""
    labels = [line.strip() for line in text.decode("utf-8").splitlines() if line.strip()]
    return [*labels, *(f"unused {number}" for number in range(len(labels), model.classes))]


def labels_of_index(path: Path) -> list[str]:
    """Keras's list `{"0": ["n01440764", "tench"], ...}`, its underscores as spaces. Raises SpecError."""
    if path.stat().st_size > _MAX_INDEX_BYTES:
        raise SpecError(f"{path}: is over {_MAX_INDEX_BYTES} bytes")
    try:
        index = json.loads(path.read_bytes())
        return [str(index[str(number)][1]).replace("_", " ") for number in range(len(index))]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise SpecError(f"{path}: is not Keras's list of classes: {error!r}") from error


def labels_of_nothing(model: CatalogueModel) -> tuple[list[str], Mapping[str, tuple[int, ...]]]:
    """For random weights: plain names, and groups where ImageNet would have them, so that they can be asked for."""
    first = model.first_class
    groups = {"dog": range(151, 269), "cat": range(281, 286), "big_cat": range(286, 294)}
    shifted = {name: tuple(index + first for index in indices) for name, indices in groups.items()}
    return [f"class {number}" for number in range(model.classes)], shifted
