"""HTTP to one worker that listens: connections kept, bounded, and what goes wrong in dispatch's words.

This is the package's door of aiohttp. Which worker it is, and what its coming and going means, is known elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from gateway.client.connection import detail_of
from gateway.client.results import stages_of_header
from gateway.dispatch.model import Body, ExchangeError, ExchangeFailed, ExchangeRefused, LinkLost, Metadata
from gateway.errors import BadInput, BadRequest, DeadlineExceeded, GatewayError, PayloadTooLarge, UnsupportedMedia
from gateway.files import FileError, describe, read_bounded

CONNECT_S = 5.0
"""For TCP and TLS together: a worker on the same network answers in milliseconds, one behind a VPN in tenths."""
KEPT_S = 30.0
"""Idle connections are closed sooner than the worker would (75 s), so that none is closed under a request."""
WHOLE_BYTES = 1 << 20
"""A body that is here, up to this, is written at once; a larger one as a stream, without a copy."""
MAX_DOCUMENT_BYTES = 8 << 20
"""Of what a worker says of itself, labels included, and of its problems."""
MAX_TIMEOUT_S = 300.0
"""The most that a worker takes for X-Request-Timeout."""
MAX_DETAIL_CHARS = 1000
"""Of a worker's own words about what went wrong: they go on to the client and into logs."""
MAX_TOKEN_BYTES = 16 << 10
METADATA_PREFIX = "x-exchange-"
"""Before a metadatum's name in a header (edge_worker/http/exchanges.py has the other end)."""

_CLIENT_ERRORS: Mapping[str, type[GatewayError]] = {
    "bad_input": BadInput,
    "bad_request": BadRequest,
    "deadline_exceeded": DeadlineExceeded,
    "payload_too_large": PayloadTooLarge,
    "unsupported_media_type": UnsupportedMedia,
}
_REFUSALS = frozenset({"queue_full", "draining", "unknown_model", "no_worker", "no_such_path", "slow_body"})
"""Nothing was begun."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a worker listens, and what it takes to be let in."""

    url: str
    """`http://HOST:PORT` or `https://HOST:PORT`, no path."""
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    token_file: Path | None = None

    def tls(self, field: str) -> ssl.SSLContext | None:
        """None for http. Raises FileError that names the setting."""
        if not self.url.startswith("https://"):
            return None
        file, name = self.ca_file, "ca_file"
        try:
            context = ssl.create_default_context(cafile=file)
            if self.certificate_file is not None:
                file, name = self.certificate_file, "certificate_file"
                context.load_cert_chain(self.certificate_file, self.key_file, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            raise FileError(f"{field}.{name}", file or Path("the system's"), describe(error)) from error
        return context

    def token(self, field: str) -> str:
        """'' without a file. Raises FileError that names the setting."""
        if self.token_file is None:
            return ""
        data = read_bounded(f"{field}.token_file", self.token_file, MAX_TOKEN_BYTES)
        return data.decode("ascii", "replace").strip()


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a worker's good answer."""

    status: int
    metadata: Metadata
    stages_s: Mapping[str, float]
    """The worker's Server-Timing."""
    body: AsyncIterator[bytes]


class Connection:
    """A pool of connections to one worker. Belongs to the event loop of its first request."""

    def __init__(self, address: Address, field: str) -> None:
        """Reads files. Raises FileError; `field` is the setting that named them."""
        self._url = address.url.rstrip("/")
        self._tls = address.tls(field)
        token = address.token(field)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Ends every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, path: str, timeout_s: float) -> object:
        """The JSON at a path. Raises ExchangeError, TimeoutError."""
        async with asyncio.timeout(timeout_s), self._answer("GET", path, None, {}) as head:
            try:
                return json.loads(await _bounded(head.body))
            except (ValueError, RecursionError) as error:
                raise ExchangeFailed(f"{path} is answered with what is no JSON: {error}") from error

    @asynccontextmanager
    async def post(
        self, path: str, body: Body | None, metadata: Metadata, timeout_s: float, request_id: str
    ) -> AsyncIterator[Head]:
        """One request, its answer's head, and its body as it comes; leaving early closes the connection, which cancels
        the work. Raises ExchangeError, and GatewayError for what is the client's."""
        left_s = min(max(timeout_s, 0.001), MAX_TIMEOUT_S)
        headers = {"X-Request-Timeout": f"{left_s:.3f}", "X-Request-ID": request_id}
        for name, value in metadata:
            headers["Content-Type" if name == "content-type" else METADATA_PREFIX + name] = value
        async with self._answer("POST", path, body, headers) as head:
            yield head

    @asynccontextmanager
    async def _answer(self, method: str, path: str, body: Body | None, headers: dict[str, str]) -> AsyncIterator[Head]:
        outgoing = _Outgoing(body)
        data = await outgoing.data(headers)
        try:
            response = await self._opened().request(
                method, self._url + path, data=data, headers=headers, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError) as error:
            if outgoing.error is not None:  # the client's, which aiohttp wraps
                raise outgoing.error from error
            raise _broken(error) from error
        try:
            if response.status >= 300 or response.content_type == "application/problem+json":
                raise _problem(response.status, await _bounded(_chunks(response)))
            yield _head_of(response)
        finally:
            response.release()  # closes the connection of an answer that was not read to its end

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(  # no limit: dispatch gives no more jobs than slots and credits
                connector=aiohttp.TCPConnector(limit=0, ssl=self._tls or True, keepalive_timeout=KEPT_S),
                headers=self._headers,
                skip_auto_headers=("User-Agent", "Content-Type"),
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session


class _Outgoing:
    """A request body on its way, and what its reader raised."""

    def __init__(self, body: Body | None) -> None:
        self._body = body
        self.error: Exception | None = None

    async def data(self, headers: dict[str, str]) -> bytes | AsyncIterator[bytes] | None:
        """For aiohttp; a declared size goes into the headers."""
        body = self._body
        if body is None:
            return None
        if body.is_complete and (body.size or 0) <= WHOLE_BYTES:
            return b"".join([chunk async for chunk in body.chunks()])
        if body.size is not None:
            headers["Content-Length"] = str(body.size)
        return self._chunks(body)

    async def _chunks(self, body: Body) -> AsyncIterator[bytes]:
        try:
            async for chunk in body.chunks():
                yield chunk
        except Exception as error:  # whoever waits for the answer raises it
            self.error = error
            raise


def _head_of(response: aiohttp.ClientResponse) -> Head:
    metadata = [
        (name.lower().removeprefix(METADATA_PREFIX), value)
        for name, value in response.headers.items()
        if name.lower().startswith(METADATA_PREFIX) or name.lower() in ("content-type", "content-length")
    ]
    stages_ms = stages_of_header(response.headers.get("Server-Timing", ""))
    stages_s = {name: ms / 1000 for name, ms in stages_ms.items()}
    return Head(response.status, metadata, stages_s, _chunks(response))


def _problem(status: int, body: bytes) -> Exception:
    """From the worker's problem document, or from whatever else stands in front of it."""
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        members = None
    members = members if isinstance(members, dict) else {}
    code = str(members.get("code", ""))
    detail = str(members.get("detail", f"HTTP status {status}"))[:MAX_DETAIL_CHARS]
    if kind := _CLIENT_ERRORS.get(code):
        return kind(detail)
    if code in _REFUSALS or status in (401, 403, 404, 429, 503):
        return ExchangeRefused(detail)
    return ExchangeFailed(detail)


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The answer's body as it comes. Raises LinkLost."""
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError) as error:
        raise _broken(error) from error


def _broken(error: Exception) -> ExchangeError:
    """Before a connection was made nothing was begun; afterwards, who knows."""
    detail = detail_of(error)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return NotThere(detail)
    return LinkLost(detail)


class NotThere(ExchangeRefused):
    """No connection could be made: the worker is gone, and the job was not begun."""


async def _bounded(chunks: AsyncIterator[bytes]) -> bytes:
    """All of it. Raises ExchangeFailed for too much."""
    data = bytearray()
    async for chunk in chunks:
        data += chunk
        if len(data) > MAX_DOCUMENT_BYTES:
            raise ExchangeFailed(f"an answer of over {MAX_DOCUMENT_BYTES} bytes")
    return bytes(data)
