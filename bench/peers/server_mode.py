"""No tunnel: this project's worker in server mode, asked directly, and two of them behind nginx's least_conn.

The floor. What a tunnel costs is what it takes above these; neither works when workers sit behind a firewall.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench.errors import BenchError
from bench.peers.closed_loop import Address
from bench.peers.nginx import front, nginx_missing, nginx_version
from bench.peers.system import PRIVATE, PUBLIC, Ground, Kind, Running, free_port
from demo.stack import Process, StackError

MODEL = "echo"
ADDRESS_PATH = f"/inference/{MODEL}"


class Direct:
    """The worker itself is the public side."""

    name = "direct"
    title = "worker in server mode, asked directly"
    kind = Kind.PLAIN

    def missing(self) -> str:
        """Never: it is this project."""
        return ""

    @contextlib.contextmanager
    def start(self, ground: Ground) -> Iterator[Running]:
        """As the protocol says."""
        with worker(ground, ground.tunnel_port) as pid:
            yield Running(Address(ground.dial_port, ADDRESS_PATH), {PRIVATE: (pid,)}, "this commit", False)


class NginxOverWorkers:
    """TLS on both legs: nginx and the workers would be different machines."""

    name = "nginx"
    title = "nginx least_conn over two workers in server mode"
    kind = Kind.PLAIN

    def missing(self) -> str:
        """What to install."""
        return nginx_missing()

    @contextlib.contextmanager
    def start(self, ground: Ground) -> Iterator[Running]:
        """As the protocol says. Both workers would be behind a slow network, so only one is where there is one."""
        ports = [ground.tunnel_port] + [free_port()] * (ground.dial_port == ground.tunnel_port)
        with contextlib.ExitStack() as stack:
            pids = tuple(stack.enter_context(worker(ground, port)) for port in ports)
            dialled = [ground.dial_port, *ports[1:]]
            port, pid = stack.enter_context(front(ground, *dialled, ca=ground.credentials.ca))
            yield Running(Address(port, ADDRESS_PATH), {PUBLIC: (pid,), PRIVATE: pids}, nginx_version(), False)


@contextlib.contextmanager
def worker(ground: Ground, port: int, *, has_tls: bool = True) -> Iterator[int]:
    """One that listens on 127.0.0.1; its process id. Raises BenchError."""
    files = ground.credentials
    arguments = ["edge_worker", "serve", "--backend", "echo", "--echo-model", MODEL, "--port", str(port)]
    if has_tls:
        arguments += ["--certificate-file", str(files.certificate), "--key-file", str(files.private_key)]
    name = f"worker-{port}"
    process = Process(name, [*arguments, "--log-format", "json"], ground.directory / f"{name}.log", {})
    try:
        process.wait_event("serving")
        yield process.popen.pid
    except StackError as error:
        raise BenchError(str(error)) from error
    finally:
        process.stop()
