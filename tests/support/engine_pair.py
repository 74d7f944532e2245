"""An engine process without a process: its server on the same event loop, at the other end of a real socket pair."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable

from edge_worker.backends.base import Backend
from edge_worker.backends.engine_process.server import EngineServer, OpenBackend
from edge_worker.backends.factory import open_backend
from edge_worker.backends.lanes import Source
from edge_worker.backends.settings import BackendSettings


class LoopChild:
    """Fits `spawn.Child`."""

    def __init__(self, end: socket.socket, open_backend: OpenBackend) -> None:
        self.server = EngineServer(open_backend)
        self._end = end
        self._status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._serving = asyncio.create_task(self._serve())
        self.can_be_killed = True

    async def _serve(self) -> None:
        await self.server.run(self._end)
        self._finish(0)

    def _finish(self, status: int) -> None:
        if not self._status.done():
            self._status.set_result(status)

    async def wait(self) -> int:
        return await asyncio.shield(self._status)

    def kill(self) -> None:
        if self._status.done():
            raise ProcessLookupError
        if self.can_be_killed:
            self.end_with(-signal.SIGKILL)

    def end_with(self, status: int) -> None:
        """As the kernel does it: no more is said, and the stream is closed."""
        self._finish(status)
        self._serving.cancel()

    def say(self, data: bytes) -> None:
        """Bytes that no server would send."""
        os.write(self._end.fileno(), data)


class LoopSpawn:
    """Fits `spawn.Spawn`. `backends` are opened one after the other, and after them what is asked for; what is an
    exception is raised."""

    def __init__(self, *backends: Backend | Exception) -> None:
        self._backends = list(backends)
        self.children: list[LoopChild] = []
        self.opened: list[tuple[str, BackendSettings]] = []
        self.failure: OSError | None = None

    async def __call__(self, end: socket.socket) -> LoopChild:
        if self.failure is not None:
            raise self.failure
        self.children.append(LoopChild(end.dup(), self._open))
        return self.children[-1]

    def _open(self, name: str, settings: BackendSettings, make_source: Callable[[], Source]) -> Backend:
        self.opened.append((name, settings))
        if not self._backends:
            return open_backend(name, settings, make_source)
        backend = self._backends.pop(0)
        if isinstance(backend, Exception):
            raise backend
        return backend
