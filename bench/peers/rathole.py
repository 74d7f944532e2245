"""rathole with TLS as its documentation has it (PKCS#12, a CA of one's own), and nginx in front of its port."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from bench.peers.closed_loop import Address
from bench.peers.nginx import front, nginx_missing
from bench.peers.program import found, path_of, running, said
from bench.peers.system import PRIVATE, PUBLIC, Ground, Kind, Running, free_port, listens

SERVER = """\
[server]
bind_addr = "127.0.0.1:{tunnel_port}"
default_token = "a token for the run"

[server.transport]
type = "tls"

[server.transport.tls]
pkcs12 = "{directory}/identity.pfx"
pkcs12_password = "for the run"

[server.services.worker]
bind_addr = "127.0.0.1:{remote_port}"
"""
CLIENT = """\
[client]
remote_addr = "127.0.0.1:{dial_port}"
default_token = "a token for the run"

[client.transport]
type = "tls"

[client.transport.tls]
trusted_root = "{ca}"
hostname = "localhost"

[client.services.worker]
local_addr = "127.0.0.1:{upstream_port}"
"""


class Rathole:
    """The leanest: each connection through the tunnel is a TLS connection of its own."""

    name = "rathole"
    title = "rathole behind nginx"
    kind = Kind.TUNNEL

    def missing(self) -> str:
        """What to install."""
        if not found("rathole"):
            return "there is no rathole: cargo install rathole"
        return nginx_missing()

    @contextlib.contextmanager
    def start(self, ground: Ground) -> Iterator[Running]:
        """As the protocol says."""
        path, directory, remote = path_of("rathole"), ground.directory, free_port()
        _make_identity(ground)
        server, client = directory / "server.toml", directory / "client.toml"
        server.write_text(SERVER.format(tunnel_port=ground.tunnel_port, directory=directory, remote_port=remote))
        ca = ground.credentials.ca.resolve()
        client.write_text(CLIENT.format(dial_port=ground.dial_port, ca=ca, upstream_port=ground.upstream_port))
        with (
            running(
                [path, "--server", str(server)], directory / "server.log", lambda: listens(ground.tunnel_port)
            ) as public,
            running([path, "--client", str(client)], directory / "client.log", lambda: listens(remote)) as private,
            front(ground, remote) as (port, nginx),
        ):
            version = f"rathole {said(path, '--version', about='Build Version').rpartition(' ')[2]}"
            yield Running(Address(port), {PUBLIC: (nginx, public), PRIVATE: (private,)}, version)


def _make_identity(ground: Ground) -> None:
    files = ground.credentials
    command = ["openssl", "pkcs12", "-export", "-out", str(ground.directory / "identity.pfx")]
    command += ["-inkey", str(files.private_key), "-in", str(files.certificate), "-certfile", str(files.ca)]
    subprocess.run([*command, "-passout", "pass:for the run"], capture_output=True, check=True)
