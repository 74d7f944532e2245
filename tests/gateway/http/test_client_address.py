"""Whose request it is when proxies stand in between."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from gateway.http.client_address import rightmost_untrusted
from tests.support.http_gateway import FakeDispatcher, serving

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),  # a stranger may write what it likes
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.5, 198.51.100.7", "198.51.100.7"),  # the left one is the client's own claim
        ("10.0.0.1", "198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),  # an inner client
        ("10.0.0.1", "198.51.100.7, nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("fd00::1", "2001:db8::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", ",".join(["198.51.100.7"] + ["10.0.0.2"] * 1000), "10.0.0.2"),  # bounded
        ("", "198.51.100.7", ""),  # a Unix socket has no address
    ],
)
def test_believes_trusted_proxies_alone(peer: str, forwarded_for: str, expected: str) -> None:
    """The client is the rightmost address of the chain that is not a trusted proxy's."""
    assert rightmost_untrusted(peer, forwarded_for, TRUSTED) == expected


@pytest.mark.parametrize(("trusted", "expected"), [((), "127.0.0.1"), (("127.0.0.0/8",), "192.0.2.7")])
async def test_logs_the_clients_address(
    trusted: tuple[str, ...], expected: str, request_lines: list[dict[str, object]]
) -> None:
    """The log line names the client behind a trusted proxy, and the connection's other end without one."""
    async with serving(FakeDispatcher(), {"proxy": {"trusted": trusted}}) as served:
        headers = {"X-Forwarded-For": "192.0.2.7"}
        async with served.session.get("/healthz", headers=headers):
            pass
    assert [line["client"] for line in request_lines] == [expected]
