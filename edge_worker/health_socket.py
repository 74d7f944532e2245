"""The worker's end of `edge-worker health`: a Unix socket that says to whoever connects whether the worker is ready.

It is a file of the worker's own user and nobody else's. Nothing is read from it, so nothing can be asked of the worker
there but this.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

from edge_worker.config import CannotListen
from edge_worker.health import TIMEOUT_S, Health, encode

MAX_WAITING = 16
"""Connections that wait to be answered; each is one `edge-worker health`, so more are a mistake somewhere."""

Look = Callable[[], Awaitable[Health]]


@contextlib.asynccontextmanager
async def health_socket(path: Path | None, look: Look) -> AsyncIterator[None]:
    """Answers there by `look` for as long as it is open; None listens nowhere. Raises CannotListen."""
    if path is None:
        yield
        return
    server = await _listen(path, look)
    try:
        yield
    finally:
        server.close()
        _remove(path)


def health_of(states: Mapping[str, str], beside: str = "") -> Health:
    """Ready when a model is, and none that was loaded has stopped answering. `states` is Readiness.states(); `beside`
    is said as well."""
    ready = [name for name, state in states.items() if state == "ready"]
    silent = any(state not in ("ready", "broken") for state in states.values())
    others = [f"{name} is {state}" for name, state in states.items() if state != "ready"]
    said = [f"ready: {', '.join(ready)}"] if ready else ["no model is ready"]
    return Health(bool(ready) and not silent, "; ".join([*said, *others, *filter(None, [beside])]))


async def _listen(path: Path, look: Look) -> asyncio.Server:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(TIMEOUT_S):
                writer.write(encode(await look()))
                await writer.drain()
        writer.close()

    return await asyncio.start_unix_server(answer, sock=_bind(path), backlog=MAX_WAITING)


def _bind(path: Path) -> socket.socket:
    """Takes the place of a socket that a worker before us has left there. Raises CannotListen."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            path.unlink()
        listener.bind(str(path))
        path.chmod(0o600)
    except OSError as error:
        listener.close()
        raise CannotListen(f"health-socket = {path}: cannot listen there: {error.strerror or error}") from error
    return listener


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
