"""The health command of the gateway's image."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from gateway.health import ask, url
from tests.support.certificates import made


@contextmanager
def answering(status: int, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server's address; its /healthz answers with this status, the rest with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, "http://127.0.0.1:9443/healthz"),
        ({"GATEWAY_ADMIN__PORT": "9000"}, "http://127.0.0.1:9000/healthz"),
        ({"GATEWAY_ADMIN__PORT": "", "HEALTH_URL": ""}, "http://127.0.0.1:9443/healthz"),
        ({"GATEWAY_ADMIN__PORT": "9000", "HEALTH_URL": "https://127.0.0.1/readyz"}, "https://127.0.0.1/readyz"),
    ],
)
def test_it_asks_the_admin_listener_unless_told(environment: dict[str, str], address: str) -> None:
    """Where the environment has put it; HEALTH_URL beats that, and empty counts as not set."""
    assert url(environment) == address


@pytest.mark.parametrize(("status", "is_healthy"), [(200, True), (503, False)])
def test_only_200_is_healthy(status: int, is_healthy: bool) -> None:
    """The line says what came."""
    with answering(status) as place:
        assert ask(f"http://{place}/healthz") == (is_healthy, f"http://{place}/healthz: {status}")


def test_a_gateway_is_known_by_answering_not_by_its_certificate(tmp_path: Path) -> None:
    """It is asked by a loopback address, which no certificate of a public gateway names."""
    folder = made(tmp_path, "gateway.example.com")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    with answering(200, context) as place:
        assert ask(f"https://{place}/healthz") == (True, f"https://{place}/healthz: 200")


def test_nobody_there_is_not_healthy() -> None:
    """Nor is an address that is none, or a server that speaks no TLS when asked to."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert not ask(f"http://127.0.0.1:{port}/healthz")[0]
    assert not ask("http://127.0.0.1:none/")[0]
    with answering(200) as place:
        assert not ask(f"https://{place}/healthz")[0]


def test_one_that_does_not_answer_is_not_healthy() -> None:
    """A gateway whose event loop hangs still accepts connections: the kernel does that."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        healthy, text = ask(f"http://127.0.0.1:{silent.getsockname()[1]}/healthz", timeout_s=0.05)
    assert not healthy
    assert "timed out" in text


def test_the_status_is_for_healthcheck() -> None:
    """0 and 1, with the line on standard output."""
    with answering(200) as place:
        port = place.partition(":")[2]
        for variables, status in (({"GATEWAY_ADMIN__PORT": port}, 0), ({"HEALTH_URL": f"http://{place}/no"}, 1)):
            command = [sys.executable, "-m", "gateway.health"]
            done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
            assert (done.returncode, place in done.stdout) == (status, True)
