"""A server that does nothing: what `python -m bench.load` measures the generator against, in a process of its own.

It counts bytes rather than read them. It takes requests that are all of one length, and would answer others wrongly.
"""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from bench.load.loop import run_loop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def serve(listener: socket.socket) -> None:
    """Until the process is ended."""

    async def accept() -> None:
        server = await asyncio.get_running_loop().create_server(Trivial, sock=listener)
        await server.serve_forever()

    run_loop(accept())


class Trivial(asyncio.BufferedProtocol):
    """Counts bytes until a request is whole, then answers. Reads nothing but the length, and of that the first
    request's: all are alike."""

    def __init__(self) -> None:
        self._buffer = bytearray(1 << 18)
        self._head = b""
        self._length = 0
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is one, and does not say so

    def get_buffer(self, _hint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        if not self._length:
            self._head += self._buffer[:count]
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            declared = self._head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            self._left = self._length = end + 4 + int(declared)
            count = len(self._head)
        self._left -= count
        if self._left <= 0:
            self._left += self._length
            self._transport.write(ANSWER)
