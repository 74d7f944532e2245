"""What all systems stand on: certificates, one upstream, a directory each; and waiting until a system answers."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.peers.closed_loop import Address, connected, run_block
from bench.peers.system import Ground, Running, System, free_port
from demo.stack import Credentials, Process, StackError

READY_TIMEOUT_S = 30.0
PROBE_BYTES = 1000


@dataclass(frozen=True)
class Grounds:
    """Of one comparison."""

    directory: Path
    credentials: Credentials
    upstream_port: int
    upstream_pid: int
    tls: ssl.SSLContext
    """What clients verify with."""

    @contextlib.contextmanager
    def started(self, system: System, directory: str, ports: tuple[int, int] | None = None) -> Iterator[Running]:
        """Runs a system within the block; it answers when the block begins. `directory`: the name of its own. `ports`:
        where the tunnel listens, and where it is dialled. Raises BenchError."""
        tunnel_port, dial_port = ports or (port := free_port(), port)
        own = self.directory / directory
        own.mkdir()
        ground = Ground(own, self.credentials, self.upstream_port, tunnel_port, dial_port)
        with system.start(ground) as running:
            self._wait_answer(running.address)
            yield running

    def _wait_answer(self, address: Address) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while why := self._probe(address):
            if time.monotonic() > deadline:
                raise BenchError(f"no good answer in {READY_TIMEOUT_S:g} s: {why}")
            time.sleep(0.05)

    def _probe(self, address: Address) -> str:
        """Why one request got no good answer; '' if it did."""
        try:
            with connected(address.port, address.request(PROBE_BYTES), 1, self.tls) as connections:
                return ", ".join(run_block(connections, lambda _now_ns: True).failures)
        except OSError as error:
            return str(error)


@contextlib.contextmanager
def prepared() -> Iterator[Grounds]:
    """All of it, gone afterwards. Raises BenchError."""
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # programs that root starts go on as other users
        credentials = Credentials(directory / "credentials")
        try:
            credentials.make()
            upstream = Process("upstream", ["bench.peers.upstream"], directory / "upstream.log", {})
            try:
                port = int(upstream.wait_event("serving")["port"])
                tls = ssl.create_default_context(cafile=credentials.ca)
                yield Grounds(directory, credentials, port, upstream.popen.pid, tls)
            finally:
                upstream.stop()
        except StackError as error:
            raise BenchError(str(error)) from error
