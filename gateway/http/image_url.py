"""An image by its address: `{"image_url": "https://..."}`. Off unless `[image_url]` says otherwise.

A gateway that fetches what strangers name can be made to ask its own network. So: only listed hosts, only https, only
public addresses, looked up once and pinned to the connection; no redirect is followed, no proxy and no cookie is used,
nothing is unpacked. Size, time and number of fetches are bounded.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.config import ImageUrl
from gateway.errors import BadInput, BadRequest, DeadlineExceeded, PayloadTooLarge, QueueFull
from gateway.http.body import ByteBudget
from gateway.http.head import shown

MAX_URL_CHARS = 2048
HTTPS_PORT = 443
MAX_FETCHES = 64
"""At the same time; the next is answered 429. Each holds a connection, and a body within its limit."""
PIECE_BYTES = 64 * 1024

GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All that is routed of IPv6. Outside lie the mapped and compatible forms of IPv4 and both prefixes of NAT64, by which
an IPv4 address would be reached that was not looked at."""
NOT_PUBLIC = tuple(
    ip_network(text)
    for text in (
        "168.63.129.16/32",  # Azure's host, which answers every virtual machine from a public address
        "192.0.0.0/24",  # IETF protocols (RFC 6890), one cloud's metadata; Python 3.11 has parts of it
        "192.88.99.0/24",  # 6to4 relays (RFC 7526)
        "2001::/32",  # Teredo: an IPv4 address inside
        "2002::/16",  # 6to4: an IPv4 address inside
        "3fff::/20",  # documentation (RFC 9637), which older tables of Python do not have
    )
)

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) -> every address that the name has."""


def is_public(address: Address) -> bool:
    """Whether this address is some machine of the internet, and none of this network, machine or cloud."""
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST:
        return False
    return not any(address in network for network in NOT_PUBLIC if network.version == address.version)


@dataclass(frozen=True, slots=True)
class _Target:
    """A checked address of an image."""

    url: str
    host: str
    port: int


class Fetched:
    """An image as it arrives, within its limit and the budget of all bodies."""

    def __init__(self, budget: ByteBudget, max_bytes: int) -> None:
        self._budget = budget
        self._max_bytes = max_bytes
        self.pieces: list[bytes] = []
        self.size_bytes = 0

    def expect(self, size_bytes: int) -> None:
        """Raises PayloadTooLarge for a size that will be too large."""
        if size_bytes > self._max_bytes:
            raise PayloadTooLarge(f"the image is larger than {self._max_bytes} bytes (limits.max_body_bytes)")

    def keep(self, piece: bytes) -> None:
        """Raises PayloadTooLarge, QueueFull."""
        self.expect(self.size_bytes + len(piece))
        self._budget.take(len(piece))
        self.size_bytes += len(piece)
        self.pieces.append(piece)

    def release(self) -> None:
        """Gives the budget back; nobody reads this image again."""
        self._budget.give_back(self.size_bytes)
        self.pieces.clear()
        self.size_bytes = 0


class ImageFetcher:
    """Fetches images from the listed hosts."""

    def __init__(
        self,
        settings: ImageUrl,
        max_bytes: int,
        *,
        resolve: Resolve | None = None,
        is_allowed: Callable[[Address], bool] = is_public,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`max_bytes` of one image. `tls` None trusts the system's authorities."""
        self._settings = settings
        self._max_bytes = max_bytes
        self._resolve = resolve or _resolve
        self._is_allowed = is_allowed
        self._tls = tls or ssl.create_default_context()
        self._open_fetches = 0

    async def fetch(self, url: str, timeout_s: float, budget: ByteBudget) -> Fetched:
        """The whole image, within `timeout_s` and the settings' own. Raises GatewayError."""
        target = self._target(url)
        if self._open_fetches >= MAX_FETCHES:
            raise QueueFull(f"{MAX_FETCHES} images are being fetched already", retry_after_s=1.0)
        self._open_fetches += 1
        fetched = Fetched(budget, self._max_bytes)
        try:
            async with asyncio.timeout(min(timeout_s, self._settings.timeout_s)):
                await self._get(target, await self._addresses(target), fetched)
            return fetched
        except BaseException as error:
            fetched.release()
            if isinstance(error, TimeoutError) and timeout_s < self._settings.timeout_s:
                raise DeadlineExceeded(f"the deadline passed while {shown(target.host)} sent the image") from error
            if isinstance(error, TimeoutError):
                raise BadInput(f"the image did not come in time from {shown(target.host)}") from error
            if isinstance(error, aiohttp.ClientError | OSError):
                reason = type(error).__name__
                raise BadInput(f"the image could not be fetched from {shown(target.host)}: {reason}") from error
            raise
        finally:
            self._open_fetches -= 1

    def _target(self, url: str) -> _Target:
        if len(url) > MAX_URL_CHARS or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
            raise BadRequest(f"image_url must be an https address of up to {MAX_URL_CHARS} plain characters")
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port or HTTPS_PORT
        except ValueError as error:
            raise BadRequest(f"image_url is not an address: {error}") from error
        if parts.scheme != "https" or not host or parts.username is not None or parts.password is not None:
            raise BadRequest("image_url must begin with https:// and a host's name, and hold no user or password")
        allowed = host if port == HTTPS_PORT else f"{host}:{port}"
        if allowed not in self._settings.hosts:
            raise BadRequest(f"images are not fetched from {shown(allowed)} (image_url.hosts)")
        # Put together again from what was looked at, so that no other reading of the text can name another host.
        name = f"[{host}]" if ":" in host else host
        return _Target(urlunsplit(("https", f"{name}:{port}", parts.path or "/", parts.query, "")), host, port)

    async def _addresses(self, target: _Target) -> list[str]:
        """Looked up once, and all public: a name with one private address is not trusted with its others."""
        texts = await self._resolve(target.host, target.port)
        if not texts or not all(self._is_allowed(ip_address(text)) for text in texts):
            raise BadRequest(f"{shown(target.host)} has an address that is not public")
        return list(texts)

    async def _get(self, target: _Target, addresses: Sequence[str], fetched: Fetched) -> None:
        pinned = _Pinned(target.host, addresses)
        connector = aiohttp.TCPConnector(resolver=pinned, use_dns_cache=False, force_close=True, ssl=self._tls)
        cookies, headers = aiohttp.DummyCookieJar(), {"Accept": "image/*", "Accept-Encoding": "identity"}
        async with (
            aiohttp.ClientSession(connector=connector, cookie_jar=cookies, auto_decompress=False) as session,
            session.get(target.url, allow_redirects=False, headers=headers) as answer,
        ):
            if answer.status != 200:
                what = "a redirect, which is not followed" if 300 <= answer.status < 400 else f"{answer.status}"
                raise BadInput(f"{shown(target.host)} answered with {what}")
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise BadInput(f"{shown(target.host)} answered with a Content-Encoding, though asked for none")
            fetched.expect(answer.content_length or 0)
            async for piece in answer.content.iter_chunked(PIECE_BYTES):
                fetched.keep(piece)


class _Pinned(AbstractResolver):
    """Gives the addresses that were looked at, and no others."""

    def __init__(self, host: str, addresses: Sequence[str]) -> None:
        self._host = host
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises OSError for another name: nobody else may be asked for."""
        if host.rstrip(".") != self._host:
            raise OSError(f"{host} was not looked up")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
            if family in (socket.AF_UNSPEC, socket.AF_INET6 if ":" in address else socket.AF_INET)
        ]

    async def close(self) -> None:
        """Holds nothing."""


async def _resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
