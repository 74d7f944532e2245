"""HAProxy's reverse HTTP: the private HAProxy dials with HTTP/2 over TLS, and the public one keeps the connection.

Of HAProxy 2.9 and later, where it is still called experimental. Both ends as in its configuration manual
(`attach-srv`, `rhttp@`). With the one connection that it dials unless told otherwise, a second client at the same time
is answered 503 by another thread: so several are dialled, and `http-reuse always` lets clients share them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from bench.peers.closed_loop import Address
from bench.peers.program import found, path_of, running, said
from bench.peers.system import PRIVATE, PUBLIC, Ground, Kind, Running, free_port, listens

LEAST_VERSION = (2, 9)
COMMON = """\
global
    expose-experimental-directives
    log stdout format raw local0
defaults
    mode http
    log global
    timeout connect 5s
    timeout client 60s
    timeout server 60s
"""
SERVER = """\
{common}
frontend clients
    bind 127.0.0.1:{port} ssl crt {pem}
    option httplog
    default_backend workers
frontend tunnels
    bind 127.0.0.1:{tunnel_port} ssl crt {pem} alpn h2
    tcp-request session attach-srv workers/worker
backend workers
    http-reuse always
    server worker rhttp@
"""
CLIENT = """\
{common}
frontend tunnel
    bind rhttp@dialled/gateway nbconn 8
    default_backend local
backend dialled
    server gateway 127.0.0.1:{dial_port} ssl verify required ca-file {ca} verifyhost localhost alpn h2
backend local
    server upstream 127.0.0.1:{upstream_port}
"""


class Haproxy:
    """The one that speaks HTTP at both ends."""

    name = "haproxy"
    title = "HAProxy reverse HTTP"
    kind = Kind.TUNNEL

    def missing(self) -> str:
        """What to install."""
        path = found("haproxy")
        if path is None:
            return "there is no haproxy: apt-get install haproxy (Debian 13 or later: it takes 2.9)"
        if (version := version_of(said(path, "-v"))) < LEAST_VERSION:
            return f"haproxy is {'.'.join(map(str, version))}, and reverse HTTP came with 2.9 (Debian 13 has 3.0)"
        return ""

    @contextlib.contextmanager
    def start(self, ground: Ground) -> Iterator[Running]:
        """As the protocol says."""
        path, directory, files, port = path_of("haproxy"), ground.directory, ground.credentials, free_port()
        pem = directory / "server.pem"
        pem.write_text(files.certificate.read_text() + files.private_key.read_text())
        server, client = directory / "public.cfg", directory / "private.cfg"
        server.write_text(SERVER.format(common=COMMON, port=port, pem=pem, tunnel_port=ground.tunnel_port))
        client.write_text(
            CLIENT.format(
                common=COMMON, dial_port=ground.dial_port, ca=files.ca.resolve(), upstream_port=ground.upstream_port
            )
        )
        with (
            running([path, "-db", "-f", str(server)], directory / "public.log", lambda: listens(port)) as public,
            running([path, "-db", "-f", str(client)], directory / "private.log") as private,
        ):
            yield Running(Address(port), {PUBLIC: (public,), PRIVATE: (private,)}, said(path, "-v"))


def version_of(text: str) -> tuple[int, ...]:
    """Of `haproxy -v`; (0,) if it does not say."""
    match = re.search(r"version (\d+)\.(\d+)", text)
    return tuple(map(int, match.groups())) if match else (0,)
