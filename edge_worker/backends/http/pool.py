"""Connections to one server: opened when one is needed, kept for the next exchange, closed when they have idled.

Kept connections are a risk: a server may close one at the very moment in which a request is written to it. So a request
that must not be made twice takes only a connection that was used a moment ago, and the others are tried again on a new
one, once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque

from edge_worker.backends.base import NotReady
from edge_worker.backends.http.address import Upstream
from edge_worker.backends.http.connection import Connection

CONNECT_TIMEOUT_S = 5.0
"""Seconds for TCP and TLS together: the server is on this machine or beside it."""

MAX_IDLE_S = 30.0
"""Seconds for which a connection is kept without use."""

FRESH_S = 1.0
"""Seconds since its last use within which a connection counts as open for requests that must not be made twice: no
common server closes one so soon (gunicorn 2 s, Node 5 s, uvicorn 5 s)."""

WRITE_BUFFER_BYTES = 256 << 10
"""Bytes that wait in this process for a server that reads slowly."""


class Pool:
    """At most `size` connections are kept; as many as there are exchanges are open."""

    def __init__(self, upstream: Upstream, tls: ssl.SSLContext | None, size: int) -> None:
        self._upstream = upstream
        self._tls = tls
        self._size = size
        self._idle: deque[Connection] = deque()  # the one used last is taken first

    async def take(self, *, is_safe_twice: bool) -> Connection:
        """A connection, kept or new. Raises NotReady when the server cannot be reached."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and (is_safe_twice or now - connection.idle_since < FRESH_S):
                return connection
            connection.close()
        return await self.connect()

    def give_back(self, connection: Connection) -> None:
        """Keeps it if it can be used again."""
        if connection.is_open and len(self._idle) < self._size:
            self._idle.append(connection)
        else:
            connection.close()

    def close_idle(self) -> None:
        """Closes those that nobody used for long."""
        oldest = asyncio.get_running_loop().time() - MAX_IDLE_S
        while self._idle and (not self._idle[0].is_open or self._idle[0].idle_since < oldest):
            self._idle.popleft().close()

    def close(self) -> None:
        """Closes all that are kept."""
        while self._idle:
            self._idle.pop().close()

    async def connect(self) -> Connection:
        """A new connection. Raises NotReady."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await self._open()
        except TimeoutError as error:
            raise NotReady(f"no connection to {self._upstream.url} within {CONNECT_TIMEOUT_S:g} s") from error
        except ssl.SSLCertVerificationError as error:
            text = f"the certificate of {self._upstream.url} does not verify: {error.verify_message.rstrip('.')}"
            raise NotReady(f"{text}; is --upstream-ca-file the right one?") from error
        except OSError as error:
            why = error.strerror or str(error)
            raise NotReady(f"no connection to {self._upstream.url}: {why}; is the server running?") from error

    async def _open(self) -> Connection:
        loop = asyncio.get_running_loop()
        upstream = self._upstream
        if upstream.path:
            transport, connection = await loop.create_unix_connection(Connection, upstream.path)
        else:
            transport, connection = await loop.create_connection(
                Connection, upstream.host, upstream.port, ssl=self._tls if upstream.is_tls else None
            )
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        return connection
