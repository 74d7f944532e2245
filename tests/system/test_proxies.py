"""Workers that get out only through a proxy, and a gateway that stands behind one."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.stack import REPOSITORY, Stack
from tests.support.connect_proxy import ConnectProxy, connect_proxy

NewStack = Callable[[str], Stack]
WaitUntil = Callable[..., float]
ECHO = ("--backend", "echo")
PAGE = REPOSITORY / "docs" / "howto" / "behind-a-proxy.md"
USER, PASSWORD = "lab", "p@ss:word/1"
USERINFO = "lab:p%40ss%3Aword%2F1"
CLIENT = "127.0.0.2"
"""An address of this machine that is no proxy's."""
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
"""Debian's place is not on everybody's path."""


@pytest.fixture(autouse=True)
def no_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own exceptions from its proxy are none of ours."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


# --- a worker behind a proxy ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gateway(new_stack: NewStack) -> Stack:
    stack = new_stack("proxied-workers")
    stack.start_gateway()
    return stack


@pytest.fixture
def proxy() -> Iterator[ConnectProxy]:
    with connect_proxy(USER, PASSWORD) as proxy:
        yield proxy


@pytest.fixture
def stack(gateway: Stack) -> Iterator[Stack]:
    """The gateway, whose workers end with the test."""
    yield gateway
    for worker in gateway.workers.values():
        worker.stop()
    gateway.workers.clear()


def test_a_worker_through_a_proxy_with_credentials(stack: Stack, proxy: ConnectProxy) -> None:
    """HTTPS_PROXY with name and password leads the tunnel through CONNECT, and TLS goes to the gateway itself."""
    stack.start_worker("worker-1", *ECHO, "--echo-model", "proxied", HTTPS_PROXY=proxy.url(USERINFO))
    stack.wait_ready("proxied", 1)
    assert stack.request("POST", "/inference/proxied", bytes(300_000), {"Content-Type": "image/png"})[0] == 200
    assert proxy.tunnelled == [f"localhost:{stack.port}"]
    assert proxy.refused == 0


def test_a_proxy_that_refuses_the_credentials(stack: Stack, proxy: ConnectProxy, wait_until: WaitUntil) -> None:
    """The log says what to check, does not tell the password, and the worker tries again."""
    worker = stack.start_worker("worker-2", *ECHO, HTTPS_PROXY=proxy.url("lab:wrong-secret"))
    wait_until(lambda: len(worker.events("not connected")) >= 2, "it tries again")
    reasons = {line["reason"] for line in worker.events("not connected")}
    assert reasons == {"the proxy answered 407; check HTTPS_PROXY and its credentials"}
    assert proxy.refused >= 2
    assert proxy.tunnelled == []
    assert "wrong-secret" not in worker.output()


def test_a_gateway_that_needs_no_proxy(stack: Stack, proxy: ConnectProxy) -> None:
    """NO_PROXY names the gateway: the worker dials it directly."""
    options = {"HTTPS_PROXY": proxy.url(USERINFO), "NO_PROXY": "example.com,localhost"}
    stack.start_worker("worker-3", *ECHO, "--echo-model", "direct", **options)
    stack.wait_ready("direct", 1)
    assert (proxy.tunnelled, proxy.refused) == ([], 0)


def test_a_proxy_that_goes_away(stack: Stack, wait_until: WaitUntil) -> None:
    """A proxy that is not there is told by its address without the credentials."""
    with connect_proxy(USER, PASSWORD) as gone:
        url = gone.url(USERINFO)
    worker = stack.start_worker("worker-1", *ECHO, HTTPS_PROXY=url)
    wait_until(lambda: worker.events("not connected"), "it says so")
    assert "no connection" in worker.events("not connected")[0]["reason"]
    assert "p%40ss" not in worker.output()
    assert PASSWORD not in worker.output()


# --- a gateway behind a proxy -----------------------------------------------------------------------------------------


def block(language: str) -> str:
    """The page's fenced block: what is documented is what is tested."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None, f"{PAGE} has no {language} block"
    return found.group(1)


def trusted() -> str:
    return ",".join(tomllib.loads(block("toml"))["proxy"]["trusted"])


def configuration(folder: Path, stack: Stack, port: int) -> str:
    """The documented configuration with this test's ports and files, and around it what nginx needs to run alone."""
    files = stack.credentials
    site = block("nginx")
    for documented, ours in {
        "server 127.0.0.1:8080;": f"server 127.0.0.1:{stack.port};",
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "server_name inference.example.com;": "server_name localhost;",
        "/etc/ssl/inference.pem": str(files.certificate),
        "/etc/ssl/inference.key": str(files.private_key),
    }.items():
        assert site.count(documented) == 1, f"the page has no {documented!r} to replace"
        site = site.replace(documented, ours)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    return f"""
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
access_log off;
{places}
{site}
}}
"""


@contextmanager
def nginx(folder: Path, stack: Stack) -> Iterator[int]:
    """Runs nginx before the stack's gateway; its port."""
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(configuration(folder, stack, port))
    assert NGINX is not None
    process = subprocess.Popen([NGINX, "-p", str(folder), "-c", str(file)], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 20
        while not (folder / "nginx.pid").exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "nginx does not start"
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=20)


def free_port() -> int:

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(stack: Stack, port: int, request_id: str, *, source: str, tls: bool, forwarded_for: str | None = None) -> None:
    """A request from one of this machine's addresses, marked so that its log line can be found."""
    connection: http.client.HTTPConnection
    if tls:
        context = ssl.create_default_context(cafile=stack.credentials.ca)
        connection = http.client.HTTPSConnection(
            "localhost", port, context=context, timeout=20, source_address=(source, 0)
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=(source, 0))
    headers = {"X-Request-ID": request_id}
    if forwarded_for is not None:
        headers["X-Forwarded-For"] = forwarded_for
    try:
        connection.request("GET", "/readyz", headers=headers)
        response = connection.getresponse()
        response.read()
        assert (response.status, response.headers["X-Request-ID"]) == (200, request_id)
    finally:
        connection.close()


def client_of(stack: Stack, request_id: str) -> str:
    """Whom the gateway's log names as the client of a request."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for line in stack.gateway.events("request"):
            if line["request_id"] == request_id:
                return str(line["client"])
        time.sleep(0.02)
    raise AssertionError(f"no log line of {request_id}")


@pytest.fixture(scope="module")
def bare(new_stack: NewStack) -> Stack:
    """A gateway as the page has it: without TLS, on loopback, and with the trusted addresses of the page."""
    stack = new_stack("behind-nginx")
    stack.start_gateway(TLS__CERTIFICATE=None, TLS__PRIVATE_KEY=None, PROXY__TRUSTED=trusted())
    return stack


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_a_gateway_behind_nginx(bare: Stack, tmp_path: Path) -> None:
    """With the configuration of the how-to, tunnels, small and large bodies and problems pass, and the client's own
    address is in the log, whatever it claims."""
    inside = bare.port
    with nginx(tmp_path, bare) as outside:
        try:
            bare.port = outside
            bare.start_worker("worker-1", *ECHO)
            bare.wait_ready("echo", 1)
            for size in (10, 1_000_000, 20_000_000):
                body = bytes(size)
                status, headers, _ = bare.request("POST", "/inference/echo", body, {"Content-Type": "image/png"})
                assert status == 200
                assert "tunnel_out" in headers["Server-Timing"]
            status, headers, _ = bare.request("POST", "/inference/nothing", b"x", {"Content-Type": "image/png"})
            assert (status, headers["Content-Type"].split(";")[0]) == (404, "application/problem+json")
            for number, claim in enumerate((None, "203.0.113.9", "203.0.113.9, 127.0.0.1")):
                ask(bare, outside, f"through-{number}", source=CLIENT, tls=True, forwarded_for=claim)
                assert client_of(bare, f"through-{number}") == CLIENT
            assert (tmp_path / "error.log").read_text() == ""
        finally:
            bare.port = inside
            bare.workers.pop("worker-1").stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 by itself")
def test_whose_word_is_taken_for_the_client(bare: Stack) -> None:
    """X-Forwarded-For of a trusted address is believed up to the first stranger in it; a stranger's is not."""
    claims = {
        "trusted": ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
        "trusted-chain": ("127.0.0.1", "203.0.113.9, 198.51.100.7, 127.0.0.1", "198.51.100.7"),
        "trusted-silent": ("127.0.0.1", None, "127.0.0.1"),
        "stranger": (CLIENT, "198.51.100.7", CLIENT),
        "nonsense": ("127.0.0.1", "unknown", "127.0.0.1"),
    }
    for request_id, (source, claim, expected) in claims.items():
        ask(bare, bare.port, request_id, source=source, tls=False, forwarded_for=claim)
        assert client_of(bare, request_id) == expected, request_id
