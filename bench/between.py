"""A network between this program and what it measures: `bench/test.py --network lte`.

Starts the relay of bench/network for as long as a run takes, sends the requests through it under the name of the real
server, and says in the result which network it was and what the relay added by itself. Refuses to end a run: a relay
that dies is written into the result beside the failures that it made.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from bench.errors import BenchError
from bench.load.target import Target
from bench.network.process import network
from bench.network.profile import PROFILES, Profile, in_words
from bench.network.self_test import added_ms

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Network:
    """Which one, and of which seed."""

    profile: Profile
    seed: int


@dataclass
class Link:
    """What a run sends through."""

    target: Target
    said: dict[str, Any] | None = None  # Any: JSON
    """For the result, complete when the link is closed; None where there is no network in between."""

    def as_json(self, name: str = "") -> list[dict[str, Any]]:
        """An entry of the result's `networks`, or none. `name`: of the arm of a comparison."""
        return [] if self.said is None else [{"arm": name, **self.said}]


def add_network_flags(made: argparse.ArgumentParser) -> None:
    """Those that `network_of` reads."""
    group = made.add_argument_group("a network in between")
    names = ", ".join(PROFILES)
    group.add_argument("--network", choices=PROFILES, metavar="PROFILE", help=f"{names} (default: none, not a relay)")
    group.add_argument("--network-seed", type=int, default=1, metavar="N", help="of its chances (default: 1)")


def network_of(profile: str | None, seed: int) -> Network | None:
    """Of the flags."""
    return None if profile is None else Network(PROFILES[profile], seed)


@contextlib.asynccontextmanager
async def link_to(target: Target, between: Network | None) -> AsyncIterator[Link]:
    """The target as it is, or by way of a relay that lives as long as the block. Raises BenchError when that cannot be
    started; one that ends badly is said in the link."""
    link = Link(target)
    if between is None:
        yield link
        return
    parts = urlsplit(target.url)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    adds = await added_ms(between.seed)
    async with contextlib.AsyncExitStack() as stack:
        relay = await stack.enter_async_context(network(between.profile, seed=between.seed, to=(host, port)))
        link.target = replace(
            target,
            url=parts._replace(netloc=f"127.0.0.1:{relay.port}").geturl(),
            headers={**target.headers, "Host": parts.netloc.rpartition("@")[2]},
            server_name=host,
        )
        link.said = {
            "profile": between.profile.name,
            "seed": between.seed,
            "text": words_of(between.profile),
            "adds_ms": adds,
            "relay": None,
            "error": "",
        }
        try:
            yield link
        finally:
            try:
                await stack.aclose()
                link.said["relay"] = relay.report
            except BenchError as error:
                link.said["error"] = str(error)


def words_of(profile: Profile) -> str:
    """Its figures, and what of it a relay of TCP leaves out."""
    parts = [f"up {in_words(profile.up)}", f"down {in_words(profile.down)}"]
    if profile.stall_every_s:
        parts.append(f"stalls of {profile.stall_s * 1000:g} ms every {profile.stall_every_s:g} s")
    if profile.up.loss or profile.down.loss:
        parts.append("its loss of packets is left out: the bytes of a TCP connection cannot be lost")
    return "; ".join(parts)
