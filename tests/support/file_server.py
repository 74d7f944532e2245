"""An HTTPS server of files that breaks off, forgets ranges, and changes its files when a test says so."""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class FileServer:
    """What it serves and how, all of which may be changed between requests; and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    """By name."""
    etag: str = '"1"'
    """Of every file; empty for none."""
    breaks_at: list[int] = field(default_factory=list)
    """For each of the next answers, after how many bytes of its body the connection ends; -1 for a whole one."""
    knows_ranges: bool = True
    says_length: bool = True
    redirect: str = ""
    """Where every request is sent."""
    redirect_of: Mapping[str, str] = field(default_factory=dict)
    """The same for these paths alone."""
    asked: list[Mapping[str, str]] = field(default_factory=list)
    """The headers of each request, names in lower case."""
    url: str = ""
    """Its address without a slash at the end."""


class _Handler(BaseHTTPRequestHandler):
    server_state: FileServer

    def do_GET(self) -> None:
        state = self.server_state
        headers = {name.lower(): value for name, value in self.headers.items()}
        state.asked.append(headers)
        content = state.files.get(self.path.rpartition("/")[2])
        if redirect := state.redirect_of.get(self.path, state.redirect):
            self._head(302, {"Location": redirect, "Content-Length": "0"})
        elif content is None:
            self._head(404, {"Content-Length": "0"})
        else:
            self._send(content, headers)

    def _send(self, content: bytes, headers: Mapping[str, str]) -> None:
        state = self.server_state
        match = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        tag = {"ETag": state.etag} if state.etag else {}
        start = int(match[1]) if match and state.knows_ranges and headers.get("if-range") == state.etag else 0
        if start >= len(content) > 0:
            self._head(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
            return
        body = content[start:]
        length = {"Content-Length": str(len(body))} if state.says_length else {}
        extent = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        self._head(206 if start else 200, {**length, **extent, **tag})
        end = state.breaks_at.pop(0) if state.breaks_at else -1
        with contextlib.suppress(OSError):  # whoever asked may be gone
            self.wfile.write(body if end < 0 else body[:end])
        self.close_connection = True

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: `asked` has it."""


@contextlib.contextmanager
def file_server(pki: Path | None) -> Iterator[FileServer]:
    """Serves on a port of its own until the block ends. `pki` is a folder that certs/make.sh made; None: plain HTTP."""

    class Handler(_Handler):
        server_state = FileServer()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if pki is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(pki / "server.pem", pki / "server.key")
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        Handler.server_state.url = f"{'https' if pki else 'http'}://localhost:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield Handler.server_state
        finally:
            server.shutdown()
            thread.join()
