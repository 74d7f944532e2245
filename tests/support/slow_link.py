"""A link of a given rate and latency between two TCP ends on one machine, with a queue like a router's.

Each way is a bottleneck: bytes leave it at the rate, arrive after the latency, and wait in a bounded queue before it;
when the queue is full nothing more is taken, and the sender's kernel feels that. The queue is large enough to hold a
fifth of a second: a sender that fills it delays everything behind by as much, as routers in homes do. A process of its
own (`with slow_link(...) as port`), so that what is measured does not share its interpreter.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKET_BYTES = 4096
"""What is taken at once: 1.6 ms of a link of 20 Mbit/s, so that one large write does not arrive as one lump."""
KERNEL_BYTES = 16 << 10
"""Receive and send buffers of the relay's own sockets (Linux doubles them): the queue is here, where it is bounded."""
BURST_BYTES = 32 << 10
"""What may pass at once after idleness, as through `tc tbf burst 32kb`: link time that the relay sleeps over because
the machine is busy, 13 ms of 20 Mbit/s at most, is not lost."""
NICENESS = -15
"""A link is no program: where it may, it goes before what it is used to measure."""
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Shape:
    """One way of the link."""

    rate_bytes_s: float
    latency_s: float
    queue_bytes: int


class Way:
    """Carries bytes from one socket to another: one thread takes them in, one lets them out when they are due."""

    def __init__(self, source: socket.socket, target: socket.socket, shape: Shape) -> None:
        self._source = source
        self._target = target
        self._shape = shape
        self._free_at = 0.0
        self._packets: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()  # bounded by _take_in
        for run in (self._take_in, self._let_out):
            threading.Thread(target=run, daemon=True).start()

    def _take_in(self) -> None:
        shape = self._shape
        with contextlib.suppress(OSError):
            while data := self._source.recv(PACKET_BYTES):
                now = time.monotonic()
                self._free_at = max(self._free_at, now - BURST_BYTES / shape.rate_bytes_s)
                self._free_at += len(data) / shape.rate_bytes_s
                self._packets.put((max(self._free_at, now) + shape.latency_s, data))
                overfull_s = self._free_at - now - shape.queue_bytes / shape.rate_bytes_s
                if overfull_s > 0:
                    time.sleep(overfull_s)
        self._packets.put((self._free_at + shape.latency_s, b""))

    def _let_out(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = self._packets.get()
                if (early_s := due - time.monotonic()) > 0:
                    time.sleep(early_s)
                if not data:
                    break
                self._target.sendall(data)
        with contextlib.suppress(OSError):
            self._target.shutdown(socket.SHUT_WR)


def serve(target: tuple[str, int], shape: Shape) -> None:
    """Prints the port it listens on and relays every connection, for ever."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BYTES)  # before listen: the window's scale
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    while True:
        near, _ = listener.accept()
        far = socket.socket()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BYTES)
        far.connect(target)
        for end in (near, far):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Way(near, far, shape)
        Way(far, near, shape)


@contextlib.contextmanager
def slow_link(port: int, *, rate_bytes_s: float, latency_s: float, queue_bytes: int) -> Iterator[int]:
    """A relay to this machine's `port`; its own port. `latency_s` is that of each way. Ends with the block."""
    options = ["--port", str(port), "--rate-bytes-s", str(rate_bytes_s)]
    options += ["--latency-s", str(latency_s), "--queue-bytes", str(queue_bytes)]
    command = [sys.executable, "-m", "tests.support.slow_link", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as relay:
        try:
            assert relay.stdout is not None
            yield int(relay.stdout.readline())
        finally:
            relay.kill()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.slow_link")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate-bytes-s", type=float, required=True)
    parser.add_argument("--latency-s", type=float, required=True)
    parser.add_argument("--queue-bytes", type=int, required=True)
    flags = parser.parse_args()
    with contextlib.suppress(PermissionError):
        os.nice(NICENESS)
    serve(("127.0.0.1", flags.port), Shape(flags.rate_bytes_s, flags.latency_s, flags.queue_bytes))


if __name__ == "__main__":
    main()
