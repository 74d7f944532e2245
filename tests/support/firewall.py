"""Three hosts as network namespaces around a router: a public gateway, a client, and a worker that nothing can dial.

The worker's firewall drops every connection that it did not begin itself, and counts them. Needs root, `ip` and `nft`.
Names carry the process id, so that two runs do not meet, and everything is gone when the block is left.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

HOSTS = ("gateway", "client", "worker")
RULES = """
table inet firewall {
  chain inbound {
    type filter hook input priority 0; policy drop;
    iif lo accept
    ct state established,related accept
    counter comment "unsolicited"
  }
}
"""


@dataclass(frozen=True)
class Network:
    """The hosts that there are."""

    prefix: str

    def namespace(self, host: str) -> str:
        """For `ip netns exec`."""
        return f"{self.prefix}-{host}"

    def address(self, host: str) -> str:
        return f"10.78.{HOSTS.index(host) + 1}.2"

    def run(self, host: str, *command: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Runs a command on a host and waits for it."""
        whole = ["ip", "netns", "exec", self.namespace(host), *command]
        return subprocess.run(whole, capture_output=True, text=True, timeout=timeout_s, check=False)

    def dropped(self) -> int:
        """Packets that came to the worker unasked for."""
        words = self.run("worker", "nft", "list", "chain", "inet", "firewall", "inbound").stdout.split()
        return int(words[words.index("packets") + 1])


@contextmanager
def firewalled_network() -> Iterator[Network]:
    """Skips the test where this machine does not let us."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("network namespaces need Linux and root")
    for tool in ("ip", "nft"):
        if shutil.which(tool) is None:
            pytest.skip(f"network namespaces need {tool}")
    network = Network(f"edge-{os.getpid()}")
    try:
        _make(network)
        yield network
    finally:
        for host in (*HOSTS, "router"):
            subprocess.run(["ip", "netns", "del", network.namespace(host)], capture_output=True, check=False)


def _make(network: Network) -> None:
    router = network.namespace("router")
    for host in (*HOSTS, "router"):
        _ip("netns", "add", network.namespace(host))
        _ip("-n", network.namespace(host), "link", "set", "lo", "up")
    for number, host in enumerate(HOSTS, 1):
        inside, net = network.namespace(host), f"10.78.{number}"
        _ip("link", "add", "eth0", "netns", inside, "type", "veth", "peer", "name", f"r{number}", "netns", router)
        for namespace, device, address in ((inside, "eth0", f"{net}.2/24"), (router, f"r{number}", f"{net}.1/24")):
            _ip("-n", namespace, "addr", "add", address, "dev", device)
            _ip("-n", namespace, "link", "set", device, "up")
        _ip("-n", inside, "route", "add", "default", "via", f"{net}.1")
    _must(network.run("router", "sysctl", "-qw", "net.ipv4.ip_forward=1"))
    _must(network.run("worker", "nft", RULES))


def _ip(*arguments: str) -> None:
    _must(subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=60, check=False))


def _must(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, f"{done.args}: {done.stderr}"
