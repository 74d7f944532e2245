"""This project: its gateway with tokens checked, metrics on and its log in a file, and one worker that dials it.

Once with the echo backend, where the worker is the server too and its answer counts against us, and once with the http
backend, which hands requests to the same server as every peer does: the like-for-like number of hops.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator

from bench.errors import BenchError
from bench.load.target import read_token
from bench.peers.closed_loop import Address
from bench.peers.system import PRIVATE, PUBLIC, Ground, Kind, Running
from demo.stack import Stack, StackError

MODEL, SERVICE = "echo", "server"
WORKER = "worker"


class EchoBackend:
    """The worker answers by itself."""

    name = "echo"
    title = "this project, echo backend"
    kind = Kind.OURS

    def missing(self) -> str:
        """Never: it is this project."""
        return ""

    @contextlib.contextmanager
    def start(self, ground: Ground) -> Iterator[Running]:
        """As the protocol says."""
        with _started(ground, "--backend", "echo", "--echo-model", MODEL) as stack:
            yield _running(stack, f"/inference/{MODEL}", uses_upstream=False)


class HttpBackend:
    """The worker passes requests on to the server beside it."""

    name = "http"
    title = "this project, http backend"
    kind = Kind.OURS

    def missing(self) -> str:
        """What to install: the worker parses HTTP with a library of its own extra."""
        return "" if importlib.util.find_spec("httptools") else "there is no httptools: pip install '.[http]'"

    @contextlib.contextmanager
    def start(self, ground: Ground) -> Iterator[Running]:
        """As the protocol says."""
        upstream = f"{SERVICE}=http://127.0.0.1:{ground.upstream_port}"
        with _started(ground, "--backend", "http", "--upstream", upstream) as stack:
            yield _running(stack, f"/tunnel/{SERVICE}/", uses_upstream=True)


@contextlib.contextmanager
def _started(ground: Ground, *options: str) -> Iterator[Stack]:
    """A gateway and a worker with these options. Raises BenchError."""
    try:
        with Stack(ground.directory) as stack:
            stack.credentials = ground.credentials
            stack.start_gateway(ground.tunnel_port)
            stack.start_worker(WORKER, *options, gateway=f"wss://localhost:{ground.dial_port}")
            yield stack
    except StackError as error:
        raise BenchError(str(error)) from error


def _running(stack: Stack, path: str, *, uses_upstream: bool) -> Running:
    parts = {PUBLIC: (stack.gateway.popen.pid,), PRIVATE: (stack.workers[WORKER].popen.pid,)}
    headers = {"Authorization": f"Bearer {read_token(stack.credentials.client_token)}"}
    return Running(Address(stack.port, path, headers), parts, "this commit", uses_upstream)
