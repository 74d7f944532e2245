"""`python -m bench.peers.upstream`: the HTTP server behind every peer: reads a body whole and says how long it was.

It is to cost little and to cost the same behind each: it counts bytes rather than keep them, and answers in one write.
Speaks as much HTTP/1.1 as proxies need, with keep-alive; bodies have a length. Prints its port as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
from typing import cast

from bench.load.loop import run_loop

LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
READ_BYTES = 256 << 10
MAX_HEAD_BYTES = 64 << 10


class Upstream(asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self) -> None:
        self._buffer = bytearray(READ_BYTES)
        self._head = b""
        self._length = 0
        self._left = 0
        """Bytes of the body that are still to come."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A proxy connects."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is one, and does not say so

    def get_buffer(self, sizehint: int) -> bytearray:
        """One buffer for all."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes of a body, or of the head before it."""
        if self._left > nbytes:
            self._left -= nbytes
            return
        data = bytes(memoryview(self._buffer)[self._left : nbytes])
        if self._left:
            self._answer()
        self._head += data
        while self._head and self._take_head():
            pass

    def _take_head(self) -> bool:
        """Whether a request was whole, so that another one may follow."""
        head, end, rest = self._head.partition(b"\r\n\r\n")
        length = LENGTH.search(head) if end else None
        if not end and len(head) < MAX_HEAD_BYTES:
            return False
        if length is None:
            self._head = b""
            self._transport.close()  # neither is what proxies send here
            return False
        self._length = int(length[1])
        self._left = self._length - len(rest)
        self._head = rest[self._length :]
        if self._left <= 0:
            self._answer()
            return True
        return False

    def _answer(self) -> None:
        self._left = 0
        body = b'{"bytes":%d}' % self._length
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )


async def run() -> None:
    """Until SIGTERM."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    server = await loop.create_server(Upstream, "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"event": "serving", "port": port}), flush=True)  # noqa: T201  how its parent learns the port
    await ended.wait()
    server.close()


if __name__ == "__main__":
    run_loop(run())
