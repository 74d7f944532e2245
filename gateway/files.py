"""Small files that people and programs share: keys, revocations, tokens.

They are read whole and within a bound, and written whole or not at all: a reader sees the old file or the new one,
never half of either, also after a power cut. Nothing here knows what a file means.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FileError(Exception):
    """A file the operator named is missing, unreadable or wrong. The text names the setting, the file and the fault."""

    def __init__(self, field: str, path: Path, problem: str) -> None:
        super().__init__(f"{field}: {path}: {problem}")
        self.field = field
        """The setting or role under which the operator knows the file, such as `auth.jwks`."""
        self.path = path
        self.problem = problem


def read_bounded(field: str, path: Path, limit_bytes: int) -> bytes:
    """The whole file. Raises FileError when it cannot be read or is longer than `limit_bytes`."""
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise FileError(field, path, describe(error)) from error
    if len(data) > limit_bytes:
        raise FileError(field, path, f"longer than {limit_bytes} bytes")
    return data


def write_atomically(field: str, path: Path, data: bytes, mode: int) -> None:
    """Puts `data` where `path` is in one step, with exactly `mode`. Raises FileError, and the old file then stays."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        _sync_directory(path.parent)
    except OSError as error:
        raise FileError(field, path, describe(error)) from error


@contextmanager
def locked(field: str, directory: Path) -> Iterator[None]:
    """Keeps a second writer of this directory waiting, so that read-change-write loses nobody's change.

    The wait ends when the other writer's process does. Raises FileError when there is no such directory.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise FileError(field, directory, describe(error)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def describe(error: OSError) -> str:
    """What the operating system said, in lower case and without the path that the message already names."""
    return (error.strerror or str(error)).lower()


def _sync_directory(directory: Path) -> None:
    """Makes the rename itself durable (rename(2): the directory entry is a separate write)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
