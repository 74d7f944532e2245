"""Asks a running worker whether it is ready: `edge-worker health`, and the HEALTHCHECK of the images.

Over the worker's own socket (health_socket.py): one that is gone, still loads or whose event loop hangs does not pass.
Imports as little as it can, and can be run as a module for that reason: it is asked every few seconds, on a machine
whose latency may be under study.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import dataclass

VARIABLE = "HEALTH_SOCKET"
TIMEOUT_S = 8.0
"""For the answer: a worker that must first prove that a model still answers takes up to 5 s for it."""
MAX_ANSWER_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Health:
    """What a worker says of itself."""

    is_ready: bool
    text: str
    """One line that says why."""


def ask(path: str, timeout_s: float = TIMEOUT_S) -> Health:
    """The answer of the worker that listens there; not ready when there is none."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(path)
            with connection.makefile("rb") as answer:
                return _read(answer.read(MAX_ANSWER_BYTES))
    except TimeoutError:
        return Health(False, f"the worker does not answer within {timeout_s:g} s")
    except OSError as error:
        return Health(False, f"{path}: {error.strerror or error}: no worker listens there")


def encode(health: Health) -> bytes:
    """The line that `ask` reads."""
    return json.dumps({"ready": health.is_ready, "text": health.text}).encode() + b"\n"


def _read(line: bytes) -> Health:
    try:
        document = json.loads(line)
        return Health(document["ready"] is True, " ".join(str(document["text"]).split()))
    except (ValueError, KeyError, TypeError):
        return Health(False, "what answers there is not a worker")


def main() -> int:
    """The status that HEALTHCHECK understands: 0 is healthy, 1 is not."""
    health = ask(os.environ.get(VARIABLE, ""))
    sys.stdout.write(health.text + "\n")
    return 0 if health.is_ready else 1


if __name__ == "__main__":
    sys.exit(main())
