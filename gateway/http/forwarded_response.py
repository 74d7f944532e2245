"""An answer that is passed on while it comes: its head byte for byte, its body piece by piece, its trailers at the end.

aiohttp's own response adds headers, knows no trailers and ends what was broken off as if it were whole. This one writes
to the connection itself, and cuts the connection when the answer breaks off: a client is never told a part is all.

A worker is a stranger: what it says cannot end in the next answer on this connection. A body is as long as its
Content-Length, there is none where HTTP has none, and nobody is switched to a protocol that he did not ask for.
"""

from __future__ import annotations

import asyncio

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from gateway.dispatch.model import Metadata, Reply
from gateway.errors import ClientGone, WorkerFailed
from gateway.http.call import HttpCall
from gateway.http.forwarded_head import answer_head, body_bytes_of, encode_head, encode_trailers
from wire.forwarding import BODILESS_STATUSES, MAX_INFORMATIONAL

JOINED_BYTES = 16 << 10
"""Pieces up to this size are joined with what stands before them: one write, and one TLS record, for a small answer."""


class ForwardedResponse(web.StreamResponse):
    """The answer to one request."""

    def __init__(self, request: web.Request, call: HttpCall, *, asks_upgrade: bool) -> None:
        """`asks_upgrade`: 101 would be an answer."""
        super().__init__()
        self._request = request
        self._call = call
        self._asks_upgrade = asks_upgrade
        self._informational = 0
        self._left_bytes: int | None = None  # of the body; None when it has no length
        self._head = b""
        self._has_begun = False
        self._is_chunked = False
        self._is_cut = False
        self.is_upgraded = False
        """Whether the connection belongs to another protocol now."""

    # --- what aiohttp asks --------------------------------------------------------------------------------------------

    @property
    def prepared(self) -> bool:
        """Whether a head was sent."""
        return self._has_begun

    @property
    def keep_alive(self) -> bool | None:
        """Whether another request may follow."""
        return self._keep_alive

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Nothing: `begin` has done it."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """What `end` has not ended was broken off."""
        if self._is_cut:
            raise ConnectionResetError("the answer was broken off")

    # --- the answer ---------------------------------------------------------------------------------------------------

    def inform(self, status: int, metadata: Metadata) -> None:
        """An informational answer, for clients that can read one. 101 is the last of HTTP on this connection. Too many
        are left out: nothing holds them back where the client does not read."""
        transport = self._request.transport
        self._informational += 1
        if transport is None or self._request.version < HttpVersion11 or self._informational > MAX_INFORMATIONAL:
            return
        if status == 101 and (self.is_upgraded or not self._asks_upgrade):
            return
        try:
            fields = answer_head(metadata)
        except WorkerFailed:  # called from the tunnel's events, which go on; the answer itself is still to come
            return
        if status != 101:
            transport.write(encode_head(status, fields))
            return
        transport.write(encode_head(101, [*fields, ("connection", "upgrade"), ("upgrade", "websocket")]))
        self.set_status(101)
        self.force_close()
        self._has_begun = self.is_upgraded = True

    def begin(self, reply: Reply) -> None:
        """The head. It leaves together with the first of the body, or at once when there is none of it yet. Raises
        WorkerFailed."""
        if self.is_upgraded:
            return
        request = self._request
        fields = answer_head(reply.metadata)
        length = body_bytes_of(fields)
        self.set_status(reply.status)
        self._call.mark(self)
        own = {name.lower(): value for name, value in self.headers.items()}
        kept = [(name, value) for name, value in fields if name not in own or name == "server-timing"]
        has_body = request.method != "HEAD" and reply.status not in BODILESS_STATUSES
        self._left_bytes = length if has_body else 0
        self._is_chunked = has_body and length is None and request.version >= HttpVersion11
        if self._keep_alive is None:  # what follows a request for an upgrade was never read as HTTP
            has_end = self._left_bytes is not None or self._is_chunked
            self._keep_alive = request.keep_alive and has_end and not self._asks_upgrade
        framing = [("transfer-encoding", "chunked")] if self._is_chunked else []
        if not self._keep_alive:
            framing.append(("connection", "close"))
        elif request.version < HttpVersion11:
            framing.append(("connection", "keep-alive"))
        self._head = encode_head(reply.status, [*kept, *own.items(), *framing])
        self._has_begun = True
        request.writer.output_size = len(self._head)  # aiohttp decides by this whether an error can still be told
        asyncio.get_running_loop().call_soon(self._send_head)

    async def send(self, data: bytes | memoryview) -> None:
        """More of the body; waits while the client does not read. Raises ClientGone, WorkerFailed."""
        transport = self._open_transport()
        if self._left_bytes is not None:
            if len(data) > self._left_bytes:
                raise WorkerFailed("the answer's body is longer than its head says")
            self._left_bytes -= len(data)
        before, after = self._head, b""
        self._head = b""
        if self._is_chunked:
            before, after = b"%s%x\r\n" % (before, len(data)), b"\r\n"
        if len(data) <= JOINED_BYTES:
            transport.write(b"".join((before, data, after)))
        else:
            for part in (before, data, after):
                if part:
                    transport.write(part)
        await self._request.writer.drain()

    def end(self, trailers: Metadata) -> None:
        """The body is whole. Trailers need a chunked body, and are dropped without one (RFC 9110 6.5.1). Raises
        ClientGone, WorkerFailed."""
        transport = self._open_transport()
        if self._left_bytes:
            raise WorkerFailed(f"the answer's body ended {self._left_bytes} bytes before its head says")
        self._send_head()
        if self._is_chunked:
            transport.write(encode_trailers(trailers))

    def cut(self) -> None:
        """The answer broke off: so does the connection."""
        self._is_cut = True
        self.force_close()
        if self._request.transport is not None:
            self._request.transport.abort()

    def _send_head(self) -> None:
        transport = self._request.transport
        if self._head and transport is not None and not transport.is_closing():
            transport.write(self._head)
        self._head = b""

    def _open_transport(self) -> asyncio.Transport:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ClientGone("the client closed its connection")
        return transport
