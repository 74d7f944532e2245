"""A server behind a worker that does on each path what a test says, byte for byte, on a thread of its own.

with Upstream() as upstream:
    upstream.on("/slow", handler)         async def handler(request, reader, writer)
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType


@dataclass(frozen=True)
class Request:
    """A request's head as it came."""

    line: str
    head: bytes
    fields: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [value for one, value in self.fields if one == name]

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]


Handler = Callable[[Request, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def parse(head: bytes) -> Request:
    line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    fields = [(name.lower(), value.strip()) for name, _, value in (one.partition(":") for one in lines)]
    return Request(line, head, fields)


def answering(answer: bytes) -> Handler:
    """Reads a body with a length, answers with these bytes, and keeps the connection."""

    async def handle(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for length in request.all("content-length"):
            await reader.readexactly(int(length))
        writer.write(answer)

    return handle


def ok(body: bytes = b"ok") -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


class Upstream:
    """Listens on loopback. What no handler is for is answered with ok."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.requests: list[Request] = []
        self.connections = 0
        self._handlers: dict[str, Handler] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Upstream:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def on(self, path: str, handler: Handler | bytes) -> None:
        """What is done from now on for this path, its query aside."""
        self._handlers[path] = answering(handler) if isinstance(handler, bytes) else handler

    def stop_listening(self) -> None:
        """Refuses new connections, and ends those that are open."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                while not writer.is_closing():
                    request = parse(await reader.readuntil(b"\r\n\r\n"))
                    self.requests.append(request)
                    handler = self._handlers.get(re.split(r"[?]", request.target)[0], answering(ok()))
                    await handler(request, reader, writer)
                    await writer.drain()
        finally:
            self._tasks.discard(task)
            writer.close()
