"""A tunnel before this project's worker: where it leads, and who is charged."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.peers import same_worker
from bench.peers.closed_loop import Address
from bench.peers.registry import SYSTEMS, TUNNELS
from bench.peers.same_worker import SameWorker
from bench.peers.system import Ground, Kind, Running
from demo.stack import Credentials

GROUND = Ground(Path("/ground"), Credentials(Path("/credentials")), 1, 2, 3)
"""Its common upstream is at port 1."""


class Tunnel:
    """A peer that only notes what it is started with."""

    name, title, kind = "pipe", "a pipe", Kind.TUNNEL

    def __init__(self) -> None:
        self.grounds: list[Ground] = []

    def missing(self) -> str:
        return "there is no pipe"

    @contextlib.contextmanager
    def start(self, ground: Ground) -> Iterator[Running]:
        self.grounds.append(ground)
        yield Running(Address(443, headers={"a": "b"}), {"public": (10,), "private": (20,)}, "1.0")


def test_the_tunnel_leads_to_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which listens without TLS and is the private side's; all else is the tunnel's own, and the upstream idles."""
    served: list[tuple[int, bool]] = []

    @contextlib.contextmanager
    def worker(_ground: Ground, port: int, *, has_tls: bool = True) -> Iterator[int]:
        served.append((port, has_tls))
        yield 30

    monkeypatch.setattr(same_worker, "worker", worker)
    tunnel = Tunnel()
    with SameWorker(tunnel).start(GROUND) as running:
        assert running.address == Address(443, "/inference/echo", {"a": "b"})
        assert running.parts == {"public": (10,), "private": (20, 30)}
        assert (running.version, running.uses_upstream) == ("1.0", False)
    assert [(port, False) for port in (one.upstream_port for one in tunnel.grounds)] == served
    assert (tunnel.grounds[0].tunnel_port, tunnel.grounds[0].dial_port) == (2, 3)
    assert tunnel.grounds[0].upstream_port != GROUND.upstream_port


def test_it_lacks_what_its_tunnel_lacks() -> None:
    """And is no tunnel of the bars."""
    made = SameWorker(Tunnel())
    assert (made.name, made.missing(), made.kind) == ("pipe+worker", "there is no pipe", Kind.SAME_WORKER)


def test_each_tunnel_is_there_both_ways() -> None:
    """In the same order."""
    names = [one.name for one in TUNNELS]
    assert [one.name for one in SYSTEMS if one.kind is Kind.TUNNEL] == names
    assert [one.name for one in SYSTEMS if one.kind is Kind.SAME_WORKER] == [f"{name}+worker" for name in names]
