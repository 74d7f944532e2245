"""An HTTP proxy as companies have them: CONNECT alone, for whoever brings name and password; it remembers who did."""

from __future__ import annotations

import base64
import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

PIECE_BYTES = 64 << 10
MAX_HEADERS = 64


@dataclass
class ConnectProxy:
    """What it did so far. `url` has the credentials in it."""

    port: int
    user: str
    password: str
    tunnelled: list[str] = field(default_factory=list)
    """HOST:PORT of every connection that it made for somebody."""
    refused: int = 0

    def url(self, userinfo: str) -> str:
        """Its address, with what stands before the @."""
        return f"http://{userinfo}@127.0.0.1:{self.port}"


class _Handler(socketserver.StreamRequestHandler):
    proxy: ConnectProxy

    def handle(self) -> None:
        method, _, rest = self.rfile.readline(8192).decode("latin-1").partition(" ")
        target = rest.partition(" ")[0]
        headers = dict(self._headers())
        expected = base64.b64encode(f"{self.proxy.user}:{self.proxy.password}".encode()).decode()
        if headers.get("proxy-authorization") != f"Basic {expected}":
            self.proxy.refused += 1
            self._answer("407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=proxy")
        elif method != "CONNECT":
            self._answer("405 Method Not Allowed")
        else:
            self._tunnel(target)

    def _headers(self) -> Iterator[tuple[str, str]]:
        for _ in range(MAX_HEADERS):
            name, _, value = self.rfile.readline(8192).decode("latin-1").partition(":")
            if not name.strip():
                return
            yield name.strip().lower(), value.strip()

    def _answer(self, head: str) -> None:
        self.wfile.write(f"HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n".encode())

    def _tunnel(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=20) as far:
            far.settimeout(None)
            self.proxy.tunnelled.append(target)
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_carry, args=(far, self.connection), daemon=True)
            back.start()
            _carry(self.connection, far)
            back.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    """One way, to its end."""
    with contextlib.suppress(OSError):
        while data := source.recv(PIECE_BYTES):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False


@contextlib.contextmanager
def connect_proxy(user: str, password: str) -> Iterator[ConnectProxy]:
    """Serves on a port of its own until the block ends."""

    class Handler(_Handler):
        pass

    with _Server(("127.0.0.1", 0), Handler) as server:
        proxy = Handler.proxy = ConnectProxy(server.server_address[1], user, password)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
