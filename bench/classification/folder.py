"""The pictures of a folder and of those in it, in order, and how they are put into requests.

Only names and sizes are held: a body is read when its request is made, so the folder may be larger than the memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from gateway.client.pictures import CONTENT_TYPES

MAX_PICTURES = 2_000_000
"""Names that are held, some 300 bytes each."""
MAX_BATCH_BYTES = 64 << 20
"""Of one request: an eighth of a gateway's default bound, and with 8 requests at a time half a gigabyte of memory."""


@dataclass(frozen=True)
class Picture:
    """A file that is not read yet."""

    name: str
    """Its path below the folder, with slashes."""
    path: Path
    size_bytes: int


def list_pictures(folder: Path) -> list[Picture]:
    """By name. Raises BenchError."""
    if not folder.is_dir():
        raise BenchError(f"{folder} is {'no folder' if folder.exists() else 'not there'}")
    pictures: list[Picture] = []
    try:
        for path in _files(folder):
            if path.suffix.lower() in CONTENT_TYPES and path.is_file():
                pictures.append(Picture(path.relative_to(folder).as_posix(), path, path.stat().st_size))
            if len(pictures) > MAX_PICTURES:
                raise BenchError(f"{folder} has over {MAX_PICTURES} pictures: give one folder of it at a time")
    except OSError as error:
        raise BenchError(f"cannot read {error.filename or folder}: {error.strerror}") from error
    if not pictures:
        raise BenchError(f"{folder} has no picture: no file in it ends in {', '.join(CONTENT_TYPES)}")
    return sorted(pictures, key=lambda picture: picture.name)


def batches(pictures: Sequence[Picture], most: int, most_bytes: int = MAX_BATCH_BYTES) -> Iterator[list[Picture]]:
    """In order, of at most so many pictures and bytes; one that is larger than that goes alone."""
    batch: list[Picture] = []
    held_bytes = 0
    for picture in pictures:
        if batch and (len(batch) >= most or held_bytes + picture.size_bytes > most_bytes):
            yield batch
            batch, held_bytes = [], 0
        batch.append(picture)
        held_bytes += picture.size_bytes
    if batch:
        yield batch


def _files(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise error

    for directory, _, names in os.walk(folder, onerror=fail):
        yield from (Path(directory) / name for name in names)
