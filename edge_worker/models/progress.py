"""How far a download is: a bar where a person looks, and elsewhere a line at each tenth, which a log can keep."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Protocol, TextIO

Advance = Callable[[int], None]
"""Told how many bytes arrived."""
_MEGABYTE = 1_000_000


class Progress(Protocol):
    """What a download tells."""

    def of(self, name: str, done: int, total: int | None) -> contextlib.AbstractContextManager[Advance]:
        """Bytes of one file: what is there already, and all of it if the server says."""


class Lines:
    """For logs and pipes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    @contextlib.contextmanager
    def of(self, name: str, done: int, total: int | None) -> Iterator[Advance]:
        shown = -1

        def advance(count: int) -> None:
            nonlocal done, shown
            done += count
            tenth = done * 10 // total if total else done // (10 * _MEGABYTE)
            if tenth > shown:
                shown = tenth
                whole = f" of {total / _MEGABYTE:.1f}" if total else ""
                print(f"{name}: {done / _MEGABYTE:.1f}{whole} MB", file=self._out, flush=True)

        advance(0)
        yield advance


class Bar:
    """For terminals."""

    @contextlib.contextmanager
    def of(self, name: str, done: int, total: int | None) -> Iterator[Advance]:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
        from rich.progress import Progress as Rich

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Rich(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as rich:
            task = rich.add_task(name, total=total, completed=done)
            yield lambda count: rich.advance(task, count)


def progress_for(out: TextIO = sys.stderr) -> Progress:
    """A bar on a terminal, lines elsewhere."""
    return Bar() if out.isatty() else Lines(out)
