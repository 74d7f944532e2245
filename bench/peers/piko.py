"""piko: a server with TLS for clients and for agents, and one agent. It routes by a header, as its documentation shows.

It speaks HTTPS to clients itself, so nothing stands in front.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench.peers.closed_loop import Address
from bench.peers.program import found, path_of, running, said
from bench.peers.system import PRIVATE, PUBLIC, Ground, Kind, Running, free_port, listens

ENDPOINT = "worker"
SERVER = """\
proxy:
  bind_addr: 127.0.0.1:{port}
  tls:
    enabled: true
    cert: {certificate}
    key: {private_key}
upstream:
  bind_addr: 127.0.0.1:{tunnel_port}
  tls:
    enabled: true
    cert: {certificate}
    key: {private_key}
admin:
  bind_addr: 127.0.0.1:{admin_port}
gossip:
  bind_addr: 127.0.0.1:{gossip_port}
"""
AGENT = """\
listeners:
  - endpoint_id: {endpoint}
    addr: 127.0.0.1:{upstream_port}
connect:
  url: https://localhost:{dial_port}
  tls:
    root_cas: {ca}
server:
  bind_addr: 127.0.0.1:{agent_port}
"""


class Piko:
    """The one that, like this project, chooses among workers per request."""

    name = "piko"
    title = "piko"
    kind = Kind.TUNNEL

    def missing(self) -> str:
        """What to install."""
        return "" if found("piko") else "there is no piko: see docs/howto/compare-with-other-tunnels.md"

    @contextlib.contextmanager
    def start(self, ground: Ground) -> Iterator[Running]:
        """As the protocol says."""
        path, directory, files, port = path_of("piko"), ground.directory, ground.credentials, free_port()
        server, agent = directory / "server.yaml", directory / "agent.yaml"
        server.write_text(
            SERVER.format(
                port=port,
                tunnel_port=ground.tunnel_port,
                certificate=files.certificate.resolve(),
                private_key=files.private_key.resolve(),
                admin_port=free_port(),
                gossip_port=free_port(),
            )
        )
        agent.write_text(
            AGENT.format(
                endpoint=ENDPOINT,
                upstream_port=ground.upstream_port,
                dial_port=ground.dial_port,
                ca=files.ca.resolve(),
                agent_port=free_port(),
            )
        )
        serve = [path, "server", "--config.path", str(server)]
        dial = [path, "agent", "start", "--config.path", str(agent)]
        with (
            running(serve, directory / "server.log", lambda: listens(port) and listens(ground.tunnel_port)) as public,
            running(dial, directory / "agent.log") as private,
        ):
            headers = {"x-piko-endpoint": ENDPOINT}
            parts = {PUBLIC: (public,), PRIVATE: (private,)}
            yield Running(Address(port, headers=headers), parts, said(path, "version"))
