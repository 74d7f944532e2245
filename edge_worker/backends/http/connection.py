"""One connection to a server behind the worker: a request out, its answer in, both as they come. The door of httptools.

Bytes go from socket to exchange inside one callback. Reading stops while the exchange is full, and the exchange gets
credit only for what the socket took, so a slow end slows the other and nothing piles up in between. An answer is
complete or it is a failure: what breaks off is never passed on as if it had ended.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

from edge_worker.backends.base import BackendFailed, BadInput
from edge_worker.backends.forwarding import Exchange, Headers
from edge_worker.backends.http.head import encode_trailers
from wire.forwarding import BODILESS_STATUSES, MAX_INFORMATIONAL, end_to_end

MAX_HEAD_BYTES = 48 << 10
MAX_FIELDS = 200
"""Of one answer: the tunnel carries heads of 64 KiB as JSON, with 256 pairs."""

JOINED_BYTES = 16 << 10
"""A first piece of body up to this size is sent together with the head: one packet instead of two."""


class Stale(Exception):
    """A connection that was kept open was closed before a byte of the answer came: perhaps nobody read the request."""


class _Broken(Exception):
    """Raised within the parser's callbacks; the text says what was wrong with the answer."""


class Connection(asyncio.Protocol):
    """Carries one exchange at a time. Make it with the loop's create_connection."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._done: asyncio.Future[None] | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._is_writing_paused = False
        self._is_reading_paused = False
        self._unconsumed = 0
        self._was_used = False
        self.idle_since = 0.0
        """Loop seconds at which its last answer was complete."""

    @property
    def is_open(self) -> bool:
        """Whether another request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        """At once; what is unsent is dropped."""
        if self._transport is not None:
            self._transport.abort()

    async def carry(self, exchange: Exchange, head: bytes, *, is_upgrade: bool = False) -> None:
        """Sends the request and hands the answer to the exchange until it is whole. Afterwards `is_open` says whether
        the connection can be kept. Raises Stale or BackendFailed; being cancelled closes the connection."""
        self._exchange, self._done = exchange, self._loop.create_future()
        self._begin_answer(exchange.method, is_upgrade=is_upgrade)
        self._is_chunked = exchange.body_bytes is None and not is_upgrade
        self._is_body_sent = False
        self._unsent_head = head
        is_complete = False
        try:
            exchange.attach(self)
            self._send_head()
            await self._done
            is_complete = self._is_body_sent and self._keeps_alive
        finally:
            self._exchange, self._parser, self._unconsumed = None, None, 0
            self.idle_since, self._was_used = self._loop.time(), True
            if not is_complete:
                self.close()
            elif self._is_reading_paused:
                self.room_made()

    # --- the request --------------------------------------------------------------------------------------------------

    def body_received(self, data: bytes | memoryview) -> None:
        """See `Sink`."""
        transport, exchange = self._transport, self._exchange
        if transport is None or transport.is_closing() or exchange is None:
            return
        if self._waits_for_upgrade:  # it goes out once the server has agreed
            self._early.append(data)
            return
        parts = [b"%x\r\n" % len(data), data, b"\r\n"] if self._is_chunked else [data]
        if self._unsent_head:
            parts.insert(0, self._unsent_head)
            self._unsent_head = b""
        if len(parts) > 1 and len(data) <= JOINED_BYTES:
            transport.write(b"".join(parts))
        else:
            for part in parts:
                transport.write(part)
        if self._is_writing_paused:
            self._unconsumed += len(data)
        else:
            exchange.consumed(len(data))

    def body_ended(self, trailers: Headers) -> None:
        """See `Sink`."""
        if self._transport is None or self._transport.is_closing():
            return
        self._is_body_sent = True
        if self._is_chunked:
            self._send_head()
            try:
                self._transport.write(encode_trailers(trailers))
            except BadInput as error:
                self._fail(error)
        elif self._is_raw and self._transport.can_write_eof():
            self._transport.write_eof()

    def _send_head(self) -> None:
        if self._unsent_head and self.is_open:
            assert self._transport is not None
            self._transport.write(self._unsent_head)
        self._unsent_head = b""

    def pause_writing(self) -> None:
        """The socket is full: the exchange gets no credit."""
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        """The socket took what it had."""
        self._is_writing_paused = False
        if self._exchange is not None and self._unconsumed:
            size, self._unconsumed = self._unconsumed, 0
            self._exchange.consumed(size)
            self._exchange.flush()

    # --- the connection -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps what writes."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of an answer without a length, or of everything."""
        self._transport = None
        if self._done is None or self._done.done() or self._exchange is None:
            return
        if self._is_raw or (self._ends_with_connection and exc is None):
            self._complete(keeps_alive=False)
            self._exchange.flush()
        elif not self._has_head:
            text = f"the server closed the connection without an answer ({exc or 'no reason given'})"
            is_stale = self._was_used and not self._has_bytes
            self._fail(Stale(text) if is_stale else BackendFailed(text))
        else:
            self._fail(BackendFailed(f"the server broke off in the middle of its answer ({exc or 'it closed early'})"))

    def data_received(self, data: bytes) -> None:
        """More of the answer."""
        exchange = self._exchange
        if exchange is None or self._done is None or self._done.done():
            self.close()  # an answer to nothing: what comes next could not be told apart
            return
        self._has_bytes = True
        if self._is_raw:
            exchange.send(data)
        else:
            self._parse(data, exchange)
        exchange.flush()
        if exchange.is_full and not self._is_reading_paused and self._transport is not None:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def room_made(self) -> None:
        """See `Sink`."""
        if self._is_reading_paused and self._transport is not None:
            self._is_reading_paused = False
            self._transport.resume_reading()

    # --- the answer ---------------------------------------------------------------------------------------------------

    def _begin_answer(self, method: str, *, is_upgrade: bool) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._method = method
        self._waits_for_upgrade = is_upgrade
        self._early: list[bytes | memoryview] = []  # bounded by the exchange's receive window
        self._is_raw = False
        self._has_bytes = False
        self._has_head = False
        self._ends_with_connection = False
        self._keeps_alive = False
        self._informational = 0
        self._head_bytes = 0
        self._fields: list[tuple[str, str]] = []

    def _parse(self, data: bytes, exchange: Exchange) -> None:
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = memoryview(data)[upgrade.args[0] :]
            if self._is_raw and rest:
                exchange.send(rest)
        except httptools.HttpParserError as error:
            if self._done is not None and not self._done.done():
                cause = error.__context__
                text = str(cause) if isinstance(cause, _Broken | ValueError) else f"it is not HTTP: {error}"
                self._fail(BackendFailed(f"the server's answer is broken: {text}"))
            else:  # something behind the answer's end
                self._keeps_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of the head, or of the trailers."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES or len(self._fields) == MAX_FIELDS:
            raise _Broken(f"its head is over {MAX_HEAD_BYTES} bytes or {MAX_FIELDS} fields")
        self._fields.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """A head is whole."""
        assert self._parser is not None
        assert self._exchange is not None
        if self._has_head:
            raise _Broken("a second answer to one request")
        status = self._parser.get_status_code()
        fields, self._fields, self._head_bytes = self._fields, [], 0
        if status == 101:
            self._switch(fields, self._exchange)
        elif status < 200:
            self._informational += 1
            if status < 100 or self._informational > MAX_INFORMATIONAL:
                raise _Broken(f"an informational answer too many ({status})")
            self._exchange.inform(status, end_to_end(fields))
        else:
            self._answer(status, fields, self._exchange)

    def _switch(self, fields: Headers, exchange: Exchange) -> None:
        if not self._waits_for_upgrade:
            raise _Broken("101 where nobody asked for another protocol")
        upgrade = [(name, value) for name, value in fields if name == "upgrade"]
        exchange.inform(101, [*end_to_end(fields), *upgrade])
        self._has_head = self._is_raw = True
        exchange.respond(200, (), None)
        self._waits_for_upgrade, early, self._early = False, self._early, []
        for data in early:
            self.body_received(data)

    def _answer(self, status: int, fields: Headers, exchange: Exchange) -> None:
        assert self._parser is not None
        coding = [value.lower() for name, value in fields if name == "transfer-encoding"]
        length = [int(value) for name, value in fields if name == "content-length"]  # llhttp has checked it
        if coding and coding != ["chunked"]:
            raise _Broken(f"a Transfer-Encoding other than chunked ({coding[0][:64]!a})")
        self._has_head = True
        self._keeps_alive = self._parser.should_keep_alive()
        has_no_body = self._method == "HEAD" or status in BODILESS_STATUSES
        kept = end_to_end(fields)
        if not has_no_body:
            kept = [(name, value) for name, value in kept if name != "content-length"]
        self._ends_with_connection = not (coding or length or has_no_body)
        exchange.respond(status, kept, length[0] if length and not has_no_body else None)
        if has_no_body:  # llhttp would wait for the body that HEAD's Content-Length speaks of
            self._complete(keeps_alive=self._keeps_alive)

    def on_body(self, data: bytes) -> None:
        """More of the body."""
        if self._done is None or self._done.done():
            raise _Broken("a body where there is none")
        assert self._exchange is not None
        self._exchange.send(data)

    def on_message_complete(self) -> None:
        """An answer ends; an informational one is followed by another."""
        if self._has_head and not self._is_raw and self._done is not None and not self._done.done():
            self._complete(keeps_alive=self._keeps_alive)

    def _complete(self, *, keeps_alive: bool) -> None:
        assert self._exchange is not None
        assert self._done is not None
        self._keeps_alive = keeps_alive
        self._exchange.end(end_to_end(self._fields))
        self._done.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)
        self.close()
