"""A tunnel with this project's worker in server mode behind it: what stands in a gateway's place where there is none.

The tunnel is the peer's own, unchanged, and leads to another server. The worker listens on loopback without TLS, as a
server beside a tunnel does: both are one machine. It is charged to the private side, as the echo backend's worker is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from bench.peers.server_mode import ADDRESS_PATH, worker
from bench.peers.system import PRIVATE, Ground, Kind, Running, System, free_port


class SameWorker:
    """One tunnel before the worker."""

    kind = Kind.SAME_WORKER

    def __init__(self, tunnel: System) -> None:
        self.name = f"{tunnel.name}+worker"
        self.title = f"{tunnel.title}, before the worker in server mode"
        self._tunnel = tunnel

    def missing(self) -> str:
        """What the tunnel lacks."""
        return self._tunnel.missing()

    @contextlib.contextmanager
    def start(self, ground: Ground) -> Iterator[Running]:
        """As the protocol says."""
        port = free_port()
        with (
            worker(ground, port, has_tls=False) as pid,
            self._tunnel.start(replace(ground, upstream_port=port)) as running,
        ):
            address = replace(running.address, path=ADDRESS_PATH)
            parts = {**running.parts, PRIVATE: (*running.parts[PRIVATE], pid)}
            yield Running(address, parts, running.version, uses_upstream=False)
