"""nginx with least_conn over servers of this machine: its own configuration, port and directory; gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from demo.stack import Process, StackError

START_TIMEOUT_S = 15.0
CONFIGURATION = """\
worker_processes {processes};
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 64m;
    client_body_buffer_size 1m;
    keepalive_requests 1000000;
    upstream servers {{
        least_conn;
{servers}
        keepalive 256;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {private_key};
        location / {{
            proxy_pass http://servers;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """One that runs."""

    url: str
    version: str


@contextlib.contextmanager
def nginx_over_servers(
    program: str, servers: int, service_ms: float, *, processes: str, certificate: Path, private_key: Path
) -> Iterator[Nginx]:
    """Starts the servers and nginx before them. `processes`: nginx's worker_processes. Raises BenchError."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise BenchError(f"there is no {program}: install nginx (Debian: apt-get install nginx-light), or give --nginx")
    with tempfile.TemporaryDirectory(prefix="bench-nginx-") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        directory.chmod(0o755)  # as root, nginx serves as another user, who reads bodies here
        ports = [stack.enter_context(_server(place, service_ms, directory)) for place in range(servers)]
        port = _free_port()
        file = directory / "nginx.conf"
        file.write_text(
            CONFIGURATION.format(
                processes=processes,
                directory=directory,
                servers="\n".join(f"        server 127.0.0.1:{one};" for one in ports),
                port=port,
                certificate=certificate.resolve(),
                private_key=private_key.resolve(),
            )
        )
        stack.enter_context(_running(path, file, directory, port))
        yield Nginx(f"https://localhost:{port}/inference", _version(path))


@contextlib.contextmanager
def _server(place: int, service_ms: float, directory: Path) -> Iterator[int]:
    """One server; its port."""
    name = f"server-{place + 1}"
    arguments = ["bench.peers.one_at_a_time", "--name", name, "--service-ms", f"{service_ms:g}"]
    process = Process(name, arguments, directory / f"{name}.log", {})
    try:
        yield int(process.wait_event("serving")["port"])
    except StackError as error:
        raise BenchError(str(error)) from error
    finally:
        process.stop()


@contextlib.contextmanager
def _running(path: str, file: Path, directory: Path, port: int) -> Iterator[None]:
    log = directory / "error.log"
    command = [path, "-c", str(file), "-p", str(directory), "-e", str(log), "-g", "daemon off;"]
    with (directory / "output.log").open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                said = (log.read_text() if log.exists() else "") + (directory / "output.log").read_text()
                raise BenchError(f"nginx did not start: {said.strip() or 'it says nothing'}")
            time.sleep(0.05)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # its processes are a group of their own
        try:
            process.wait(START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(port: int) -> bool:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # whether it listens is all that is asked
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as plain, context.wrap_socket(plain):
            return True
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _version(path: str) -> str:
    """Such as nginx/1.22.1."""
    said = subprocess.run([path, "-v"], capture_output=True, text=True, check=False).stderr
    return said.partition("version:")[2].strip() or "nginx"
