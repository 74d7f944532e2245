"""The slow link of the kernel itself: a worker's network namespace behind a pair of interfaces with `tc tbf`.

Needs root, iproute2 and a kernel with tbf. Names carry this process's id, addresses are of the range for measurements
(RFC 2544), and everything is gone at the end: the interfaces go with their namespace.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

NEAR, FAR = "198.18.77.1", "198.18.77.2"


class NoNamespaces(Exception):
    """This machine does not let us; the text says what failed."""


@dataclass(frozen=True)
class NamespaceLink:
    """Where the gateway is seen from inside, and the command that runs another one inside."""

    gateway: str
    via: tuple[str, ...]


def _run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, timeout=20)
    if result.returncode:
        raise NoNamespaces(f"{' '.join(command)}: {result.stderr.strip()}")


@contextmanager
def namespace_link(*, rate_bits_s: int, queue_s: float) -> Iterator[NamespaceLink]:
    """Each way at the rate, with a queue of so many seconds before it. Raises NoNamespaces."""
    if not shutil.which("ip") or not shutil.which("tc"):
        raise NoNamespaces("iproute2 is not installed")
    if os.geteuid() != 0:
        raise NoNamespaces("only root may make network namespaces")
    name, near, far = f"eig-{os.getpid()}", f"eign{os.getpid()}", f"eigf{os.getpid()}"
    inside = ("ip", "netns", "exec", name)
    shape = ("root", "tbf", "rate", str(rate_bits_s), "burst", "32kb", "latency", f"{int(queue_s * 1000)}ms")
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        _run("ip", "addr", "add", f"{NEAR}/30", "dev", near)
        _run("ip", "link", "set", near, "up")
        _run("ip", "-n", name, "addr", "add", f"{FAR}/30", "dev", far)
        _run("ip", "-n", name, "link", "set", far, "up")
        _run("tc", "qdisc", "add", "dev", near, *shape)
        _run(*inside, "tc", "qdisc", "add", "dev", far, *shape)
        yield NamespaceLink(NEAR, inside)
    finally:
        subprocess.run(["ip", "link", "del", near], capture_output=True, timeout=20)
        subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=20)
