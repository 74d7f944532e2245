"""One connection of the load: one request after the other, over TLS or plain, by whatever thread asks.

Made to cost little, since it shares the machine with what it measures: blocking sockets, and no HTTP but a length. A
server that closes after each answer (Flask's does) is connected to again.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from bench.errors import BenchError
from bench.peers.closed_loop import HOST, NAME, RECEIVE_BYTES, Failed, is_whole

TIME_OUT_S = 60.0
"""Of one read or write: a machine that is busy with other things is slow, and no failure."""


class Connection:
    """Kept as long as the server keeps it."""

    def __init__(self, port: int, requests: Iterator[bytes], tls: ssl.SSLContext | None) -> None:
        """Connects with the first request. `tls` is None for http."""
        self._port = port
        self._requests = requests
        self._tls = tls
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Without a goodbye; harmless when there is none."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ask(self) -> None:
        """The next request, and its answer to the last byte. Raises BenchError for any answer but a good one."""
        try:
            self._socket = self._socket or self._connect()
            self._socket.sendall(next(self._requests))
            answer = self._receive(self._socket)
        except (OSError, Failed) as error:
            raise BenchError(f"port {self._port}: a request failed: {error}") from error
        if b"\r\nconnection: close\r\n" in answer.partition(b"\r\n\r\n")[0].lower() + b"\r\n":
            self.close()

    def _connect(self) -> socket.socket:
        plain = socket.create_connection((HOST, self._port), TIME_OUT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return plain if self._tls is None else self._tls.wrap_socket(plain, server_hostname=NAME)

    def _receive(self, connected: socket.socket) -> bytes:
        """Raises Failed for what is cut off, too long, or no success."""
        answer = b""
        while not answer or not is_whole(answer):
            piece = connected.recv(RECEIVE_BYTES)
            if not piece or len(answer) > RECEIVE_BYTES:
                raise Failed("the answer is cut off" if not piece else "the answer is too long")
            answer += piece
        return answer
