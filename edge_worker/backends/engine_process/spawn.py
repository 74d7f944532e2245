"""How an engine process is started, and what its worker holds of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import weakref
from collections.abc import Awaitable, Callable
from typing import Protocol

PROGRAM = (sys.executable, "-P", "-m", "edge_worker.backends.engine_process")
"""-P: a file beside which the worker was started, such as json.py, is no module of this program."""


_spawned: weakref.WeakSet[asyncio.subprocess.Process] = weakref.WeakSet()


class Child(Protocol):
    """A process that was started: asyncio.subprocess.Process."""

    async def wait(self) -> int:
        """Its exit status, once it has ended; negative for a signal."""

    def kill(self) -> None:
        """At once. Raises ProcessLookupError when it has ended."""


Spawn = Callable[[socket.socket], Awaitable[Child]]
"""Starts a process that has that end of a socket pair. Raises OSError."""


def spawner(log_format: str, log_level: str) -> Spawn:
    """Of processes that log as the worker does, to the same place."""

    async def spawn(end: socket.socket) -> Child:
        """In a session of its own: a terminal's signals are not for it, and Linux shares the cores between it and the
        worker as between two programs, not as among all of their threads (sched(7), autogroup)."""
        child = await asyncio.create_subprocess_exec(
            *PROGRAM,
            *(str(end.fileno()), str(os.getpid()), log_format, log_level),
            pass_fds=(end.fileno(),),
            stdin=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,
        )
        _spawned.add(child)
        return child

    return spawn


def kill_spawned() -> None:
    """Every one that still runs: for a worker that is about to end without another word."""
    for child in _spawned:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
