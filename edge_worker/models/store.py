"""The folder that pulled models are put into: one pull at a time, and each model whole or not at all.

Downloads wait in a hidden folder, which a worker passes over; a model is put together in another one and then renamed.
A model that is replaced stands aside until the new one is in place.
"""

from __future__ import annotations

import contextlib
import fcntl
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

DOWNLOADS, LOCK = ".downloads", ".pull.lock"


class StoreError(Exception):
    """The folder cannot be used; the text says which and why."""


class Store:
    """One folder of model folders."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def downloads(self) -> Path:
        """Where files wait that are published, whole or in part."""
        return self._folder / DOWNLOADS

    def place(self, name: str) -> Path:
        """Where a model is, or would be."""
        return self._folder / name

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else pulls into this folder in the meantime. Raises StoreError at once if somebody does."""
        try:
            self.downloads.mkdir(parents=True, exist_ok=True)
            lock = (self._folder / LOCK).open("w")
        except OSError as error:
            raise StoreError(f"{self._folder}: cannot be written: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however it ends
            except OSError as error:
                raise StoreError(f"{self._folder}: another pull is at work there") from error
            yield

    def put(self, name: str, files: Mapping[str, bytes]) -> Path:
        """A model folder with these files, in one step. Raises StoreError; what was there before stays then."""
        try:
            with tempfile.TemporaryDirectory(prefix=".new-", dir=self._folder) as staging:
                made = Path(staging) / name
                made.mkdir()
                for file, content in files.items():
                    (made / file).write_bytes(content)
                self._exchange(made, Path(staging) / "before", self.place(name))
        except OSError as error:
            raise StoreError(f"{self.place(name)}: cannot be written: {error.strerror or error}") from error
        return self.place(name)

    def _exchange(self, made: Path, aside: Path, place: Path) -> None:
        if place.exists():
            place.rename(aside)
        try:
            made.rename(place)
        except OSError:
            if aside.exists():
                aside.rename(place)
            raise

    def drop_download(self, name: str) -> None:
        """Forgets a file that is installed now, its part and notes."""
        for path in self.downloads.glob(f"{name}*"):
            path.unlink(missing_ok=True)
