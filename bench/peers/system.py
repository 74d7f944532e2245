"""What a system is to the comparison: something to start, on ground that is prepared, and to stop again.

Each system has one file. The public side is what the client reaches, the private side what dials out; a peer's own
words for them stay in its file.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from bench.peers.accounts import Parts
from bench.peers.closed_loop import Address
from demo.stack import Credentials

PUBLIC, PRIVATE, UPSTREAM = "public", "private", "upstream"
"""Parts of a system; the last one belongs to nobody, and is counted beside those that use it."""


class Kind(Enum):
    """How a system stands in the comparison."""

    PLAIN = "no tunnel"
    TUNNEL = "tunnel"
    """A peer: what this project's bars refer to."""
    SAME_WORKER = "tunnel, this project's worker behind it"
    """A peer before the very application that the echo backend is."""
    OURS = "this project"


@dataclass(frozen=True)
class Ground:
    """What a system is started with."""

    directory: Path
    """Its own, empty, for files and logs; other users may read it."""
    credentials: Credentials
    """A CA, and a certificate for localhost."""
    upstream_port: int
    """The HTTP server beside the private side, on 127.0.0.1, without TLS: both are one machine."""
    tunnel_port: int
    """Where the public side listens for the private one, or, without a tunnel, the worker for who asks it."""
    dial_port: int
    """Where that is reached: another port if a slow network lies between."""


@dataclass(frozen=True)
class Running:
    """A system that answers."""

    address: Address
    parts: Parts
    version: str
    uses_upstream: bool = True
    """False where the private side answers by itself."""


class System(Protocol):
    """One of those compared."""

    @property
    def name(self) -> str:
        """One word, for flags and results."""

    @property
    def title(self) -> str:
        """For the table: what it is, and which TLS ends where."""

    @property
    def kind(self) -> Kind:
        """Its role."""

    def missing(self) -> str:
        """Why it cannot be started on this machine, and what to install; '' if it can."""

    def start(self, ground: Ground) -> contextlib.AbstractContextManager[Running]:
        """Runs it within the block; nothing of it is left afterwards. It may not answer yet. Raises BenchError."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody does."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False
