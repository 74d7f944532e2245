"""chisel: a server with --reverse and TLS, a client that verifies it, and nginx in front of the port that it opens.

Its tunnel is SSH within a WebSocket within TLS, as its documentation advises for a server that is reached by name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench.peers.closed_loop import Address
from bench.peers.nginx import front, nginx_missing
from bench.peers.program import found, path_of, running, said
from bench.peers.system import PRIVATE, PUBLIC, Ground, Kind, Running, free_port, listens

ACCOUNT = "worker:a password for the run"


class Chisel:
    """The nearest to this project in transport: a WebSocket."""

    name = "chisel"
    title = "chisel behind nginx"
    kind = Kind.TUNNEL

    def missing(self) -> str:
        """What to install."""
        if not found("chisel"):
            return "there is no chisel: see docs/howto/compare-with-other-tunnels.md"
        return nginx_missing()

    @contextlib.contextmanager
    def start(self, ground: Ground) -> Iterator[Running]:
        """As the protocol says."""
        path, directory, remote = path_of("chisel"), ground.directory, free_port()
        server, client = server_command(path, ground), client_command(path, ground, remote)
        with (
            running(server, directory / "server.log", lambda: listens(ground.tunnel_port)) as public,
            running(client, directory / "client.log", lambda: listens(remote)) as private,
            front(ground, remote) as (port, nginx),
        ):
            version = f"chisel {said(path, '--version')}"
            yield Running(Address(port), {PUBLIC: (nginx, public), PRIVATE: (private,)}, version)


def server_command(path: str, ground: Ground) -> list[str]:
    """The public side's."""
    files = ground.credentials
    command = [path, "server", "--host", "127.0.0.1", "--port", str(ground.tunnel_port), "--reverse"]
    command += ["--auth", ACCOUNT, "--tls-cert", str(files.certificate.resolve())]
    return [*command, "--tls-key", str(files.private_key.resolve())]


def client_command(path: str, ground: Ground, remote: int) -> list[str]:
    """The private side's."""
    command = [path, "client", "--auth", ACCOUNT, "--tls-ca", str(ground.credentials.ca.resolve())]
    return [*command, f"https://localhost:{ground.dial_port}", f"R:127.0.0.1:{remote}:127.0.0.1:{ground.upstream_port}"]
