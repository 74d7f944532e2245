"""What is left of a run when its disk is full: each part is written, and where it cannot be, in another directory.

Parts come in the order of what cannot be made again. Refuses to stop: every failure is one line, and the next part has
its turn.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from bench.errors import BenchError

Part = Callable[[Path], None]
"""Writes something to a directory. Raises BenchError."""


class Keeper:
    """Writes to one directory, or from the first failure on to a temporary one: what was written already goes there
    too, so that a result lies in one place."""

    def __init__(self, directory: Path | None, errors: Console) -> None:
        """None: nothing is written."""
        self._directory = directory
        self._errors = errors
        self._parts: list[Part] = []
        self.is_elsewhere = False
        """Whether something could not be written where it was asked for."""

    def keep(self, part: Part) -> None:
        """Writes it where there is room."""
        if self._directory is None:
            return
        self._parts.append(part)
        if self._is_written(part, self._directory) or self.is_elsewhere:
            return
        self.is_elsewhere = True
        try:
            self._directory = Path(tempfile.mkdtemp(prefix="bench-"))
        except OSError as error:
            self._errors.print(f"bench: and there is no other place: {error}. What is left of it is the table")
            self._directory = None
            return
        written = [self._is_written(one, self._directory) for one in self._parts]
        if all(written):
            self._errors.print(f"bench: the result is in {self._directory} instead")

    def _is_written(self, part: Part, directory: Path) -> bool:
        try:
            part(directory)
        except BenchError as error:
            self._errors.print(f"bench: {error}")
            return False
        return True
