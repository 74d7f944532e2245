"""Whose request it is when proxies stand in between: X-Forwarded-For is believed from trusted addresses alone."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import web

MAX_HOPS = 16
"""Proxies in a row that are followed; more is an attempt to waste time."""

Networks = Sequence[IPv4Network | IPv6Network]


def client_address(request: web.Request, trusted: Networks) -> str:
    """The client's address for logs: the rightmost one in the chain that is not a trusted proxy."""
    peer = request.remote or ""
    if not trusted:
        return peer
    return rightmost_untrusted(peer, ",".join(request.headers.getall("X-Forwarded-For", [])), trusted)


def came_by_proxy(request: web.Request, trusted: Networks) -> bool:
    """Whether the connection is a trusted proxy's, whose other headers are believed as well."""
    peer = _address(request.remote or "")
    return peer is not None and any(peer in network for network in trusted)


def rightmost_untrusted(peer: str, forwarded_for: str, trusted: Networks) -> str:
    """Walks the chain from the connection outwards, for as long as each address is a trusted proxy's.

    What stands left of the first untrusted address was written by strangers. An entry that is no address ends the walk
    as well: the proxy before it is then the last thing known.
    """
    known = peer
    for hop in (peer, *reversed(forwarded_for.split(",")[-MAX_HOPS:])):
        address = _address(hop.strip())
        if address is None:
            break
        known = str(address)
        if not any(address in network for network in trusted):
            break
    return known


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies write it: bare, [v6], or with a port; None for anything else."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # A dual-stack listener shows IPv4 peers as ::ffff:a.b.c.d.
    return getattr(address, "ipv4_mapped", None) or address
