"""frp: frps with TLS enforced and frpc that verifies it, one TCP proxy, and nginx in front of the port that it opens.

As its documentation has it: token, TLS with certificates of one's own, and its multiplexing left on. Its `http` proxies
would parse each request a second time; `tcp` is the leaner one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench.peers.closed_loop import Address
from bench.peers.nginx import front, nginx_missing
from bench.peers.program import found, path_of, running, said
from bench.peers.system import PRIVATE, PUBLIC, Ground, Kind, Running, free_port, listens

SERVER = """\
bindAddr = "127.0.0.1"
bindPort = {tunnel_port}
proxyBindAddr = "127.0.0.1"
auth.token = "a token for the run"
transport.tls.force = true
transport.tls.certFile = "{certificate}"
transport.tls.keyFile = "{private_key}"
"""
CLIENT = """\
serverAddr = "127.0.0.1"
serverPort = {dial_port}
auth.token = "a token for the run"
transport.tls.trustedCaFile = "{ca}"
transport.tls.serverName = "localhost"

[[proxies]]
name = "worker"
type = "tcp"
localIP = "127.0.0.1"
localPort = {upstream_port}
remotePort = {remote_port}
"""


class Frp:
    """The most used."""

    name = "frp"
    title = "frp, tcp proxy, behind nginx"
    kind = Kind.TUNNEL

    def missing(self) -> str:
        """What to install."""
        if lacking := [name for name in ("frps", "frpc") if not found(name)]:
            return f"there is no {lacking[0]}: see docs/howto/compare-with-other-tunnels.md"
        return nginx_missing()

    @contextlib.contextmanager
    def start(self, ground: Ground) -> Iterator[Running]:
        """As the protocol says."""
        directory, files, remote = ground.directory, ground.credentials, free_port()
        server, client = directory / "frps.toml", directory / "frpc.toml"
        server.write_text(
            SERVER.format(
                tunnel_port=ground.tunnel_port,
                certificate=files.certificate.resolve(),
                private_key=files.private_key.resolve(),
            )
        )
        client.write_text(
            CLIENT.format(
                dial_port=ground.dial_port,
                ca=files.ca.resolve(),
                upstream_port=ground.upstream_port,
                remote_port=remote,
            )
        )
        frps, frpc = path_of("frps"), path_of("frpc")
        with (
            running([frps, "-c", str(server)], directory / "frps.log", lambda: listens(ground.tunnel_port)) as public,
            running([frpc, "-c", str(client)], directory / "frpc.log", lambda: listens(remote)) as private,
            front(ground, remote) as (port, nginx),
        ):
            version = f"frp {said(frps, '--version')}"
            yield Running(Address(port), {PUBLIC: (nginx, public), PRIVATE: (private,)}, version)
