"""nginx with least_conn and TLS in front: over servers of this machine, and as the public side of tunnels.

Its own configuration, port and directory; gone afterwards. In front of a tunnel it is what the tunnels' documentation
expects there: it ends the clients' TLS and hands plain HTTP to the port that the tunnel opened beside it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.peers.program import found, running, said
from bench.peers.system import Ground, free_port
from demo.stack import Process, StackError

INSTALL = "install nginx (Debian: apt-get install nginx-light)"
CONFIGURATION = """\
worker_processes {processes};
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    access_log {access_log};
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 64m;
    client_body_buffer_size 1m;
    keepalive_requests 1000000;
    upstream servers {{
        {zone}least_conn;
{servers}
        keepalive 256;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port} ssl{reuseport};
        ssl_certificate {certificate};
        ssl_certificate_key {private_key};
        location / {{
            proxy_pass {scheme}://servers;
            proxy_http_version 1.1;
            proxy_set_header Connection "";{verification}
        }}
    }}
}}
"""
VERIFICATION = """
            proxy_ssl_verify on;
            proxy_ssl_name localhost;
            proxy_ssl_trusted_certificate {ca};"""


@dataclass(frozen=True)
class Front:
    """What nginx is told."""

    directory: Path
    port: int
    servers: Sequence[int]
    """Ports of 127.0.0.1."""
    certificate: Path
    private_key: Path
    processes: str = "auto"
    """Its worker_processes: one a core, as Debian has it."""
    has_zone: bool = False
    """Whether its processes count connections together."""
    has_reuseport: bool = False
    """Whether the kernel spreads new connections over its processes."""
    access_log: str = "off"
    """`off`, or a file."""
    ca: Path | None = None
    """Who signed the servers' certificates; None: they speak plain HTTP."""

    def configuration(self) -> str:
        """The text of its file."""
        return CONFIGURATION.format(
            processes=self.processes,
            zone="zone servers 64k;\n        " if self.has_zone else "",
            reuseport=" reuseport" if self.has_reuseport else "",
            directory=self.directory,
            access_log=self.access_log,
            servers="\n".join(f"        server 127.0.0.1:{one};" for one in self.servers),
            port=self.port,
            certificate=self.certificate.resolve(),
            private_key=self.private_key.resolve(),
            scheme="http" if self.ca is None else "https",
            verification="" if self.ca is None else VERIFICATION.format(ca=self.ca.resolve()),
        )


@dataclass(frozen=True)
class Nginx:
    """One that runs."""

    url: str
    version: str


def nginx_missing() -> str:
    """What to install; '' where it is there."""
    return "" if found("nginx") else f"there is no nginx: {INSTALL}"


def nginx_version() -> str:
    """Such as nginx/1.22.1."""
    return _version(found("nginx") or "nginx")


@contextlib.contextmanager
def front(ground: Ground, *servers: int, ca: Path | None = None) -> Iterator[tuple[int, int]]:
    """nginx as anyone would run it before a port of this machine, with its access log on: its port and process id."""
    directory = ground.directory / "nginx"
    directory.mkdir()
    port = free_port()
    files = ground.credentials
    told = Front(
        directory, port, servers, files.certificate, files.private_key, access_log=f"{directory}/access.log", ca=ca
    )
    with _running(found("nginx") or "nginx", told) as pid:
        yield port, pid


@contextlib.contextmanager
def servers_one_at_a_time(count: int, service: str, seed: int) -> Iterator[list[int]]:
    """Servers that work one at a time, `service` as for `--echo-service-time`: their ports. Raises BenchError."""
    with tempfile.TemporaryDirectory(prefix="bench-servers-") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        yield [stack.enter_context(_server(place, service, seed, directory)) for place in range(count)]


@contextlib.contextmanager
def nginx_over_servers(
    program: str,
    servers: Sequence[int],
    *,
    processes: str,
    certificate: Path,
    private_key: Path,
    has_zone: bool = False,
    has_reuseport: bool = False,
) -> Iterator[Nginx]:
    """Starts nginx before the servers of these ports. `processes`: its worker_processes. Raises BenchError."""
    path = found(program)
    if path is None:
        raise BenchError(f"there is no {program}: {INSTALL}, or give --nginx")
    with tempfile.TemporaryDirectory(prefix="bench-nginx-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # as root, nginx serves as another user, who reads bodies here
        port = free_port()
        told = Front(
            directory,
            port,
            servers,
            certificate,
            private_key,
            processes,
            has_zone=has_zone,
            has_reuseport=has_reuseport,
        )
        with _running(path, told):
            yield Nginx(f"https://localhost:{port}/inference", _version(path))


@contextlib.contextmanager
def _server(place: int, service: str, seed: int, directory: Path) -> Iterator[int]:
    """One server; its port."""
    name = f"server-{place + 1}"
    arguments = ["bench.peers.one_at_a_time", "--name", name, "--service", service, "--seed", str(seed + place)]
    process = Process(name, arguments, directory / f"{name}.log", {})
    try:
        yield int(process.wait_event("serving")["port"])
    except StackError as error:
        raise BenchError(str(error)) from error
    finally:
        process.stop()


@contextlib.contextmanager
def _running(path: str, told: Front) -> Iterator[int]:
    """Its process id."""
    file, log = told.directory / "nginx.conf", told.directory / "error.log"
    file.write_text(told.configuration())
    command = [path, "-c", str(file), "-p", str(told.directory), "-e", str(log), "-g", "daemon off;"]
    try:
        with running(command, told.directory / "output.log", lambda: _answers(told.port)) as pid:
            yield pid
    except BenchError as error:
        raise BenchError(f"{error} {log.read_text() if log.exists() else ''}".strip()) from error


def _answers(port: int) -> bool:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # whether it listens is all that is asked
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as plain, context.wrap_socket(plain):
            return True
    except OSError:
        return False


def _version(path: str) -> str:
    """Such as nginx/1.22.1."""
    return said(path, "-v").partition("version:")[2].strip() or "nginx"
