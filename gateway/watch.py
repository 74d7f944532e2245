"""Notices that files changed, by looking every couple of seconds: keys, revocations and certificates share one task.

Looking is preferred to inotify because it also works on network file systems and on the swapped symlinks of mounted
secrets. It only says that something changed: what a change means, and keeping the old value when the new file is
broken, belongs to whoever owns the file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import structlog

INTERVAL_S = 2.0
"""A revoked token works for at most this long after the file is in place; three stat calls cost microseconds."""

_Stamp = tuple[int, int, int] | None


class Reloadable(Protocol):
    """Owns files that may change under it."""

    def reload_if_changed(self) -> bool:
        """Reads its files again if they changed; True if it now uses something new. A broken file is logged."""


class FileStamps:
    """Remembers how some files looked: modification time, inode and size, which a rename always changes."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._seen = self._look()

    def have_changed(self) -> bool:
        """True once per change: the new look is remembered before the caller reads, so a later write shows again."""
        now = self._look()
        changed = now != self._seen
        self._seen = now
        return changed

    def _look(self) -> tuple[_Stamp, ...]:
        return tuple(_stamp(path) for path in self._paths)


class Watcher:
    """The one task that asks every owner of files to look again. `sleep` is injected so that tests need no time."""

    def __init__(
        self,
        reloadables: Sequence[Reloadable],
        *,
        interval_s: float = INTERVAL_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._reloadables = tuple(reloadables)
        self._interval_s = interval_s
        self._sleep = sleep
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger()

    async def run(self) -> None:
        """Looks until cancelled. The caller owns the task."""
        while True:
            await self._sleep(self._interval_s)
            self.poll()

    def poll(self) -> None:
        """Looks once, at every owner: a fault in one must not stop the others from being told of a revocation."""
        for reloadable in self._reloadables:
            try:
                reloadable.reload_if_changed()
            except Exception:
                self._log.exception("reload_failed", owner=type(reloadable).__name__)


def _stamp(path: Path) -> _Stamp:
    """None for a file that is not there or cannot be looked at: its owner says so when it reads."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
