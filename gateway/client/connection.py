"""One request to a gateway and what came of it: the client's door of aiohttp.

One picture is the body as it is; several are multipart, answered by a list in the order sent. Whatever goes wrong
becomes a ClientError here. No redirect is followed, since the token would go along. Knows nothing of trying again.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import aiohttp

from gateway.client.errors import ClientError, error_of
from gateway.client.pictures import Picture
from gateway.client.results import Outcome, Reading, Timing, result_of, stages_of_header
from gateway.client.retry import retry_after_s

MAX_ANSWER_BYTES = 64 << 20
GRACE_S = 0.5
"""The gateway is told the deadline and answers at it; its answer, with the request's id, may take so much longer."""
CA_VARIABLE = "GATEWAY_CA"


class Connections:
    """Kept-alive connections to one address, made when they are needed."""

    def __init__(self, tls: ssl.SSLContext | None, token: str, user_agent: str, worker: str | None = None) -> None:
        """`tls` is None for http; `worker` None for any. Belongs to the event loop of its first request."""
        self._tls = tls
        self._headers = {"User-Agent": user_agent, "Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        if worker is not None:
            self._headers["X-Worker"] = worker
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Ends them; what is in flight fails."""
        if self._session is not None:
            await self._session.close()

    async def post(
        self,
        url: str,
        pictures: Sequence[Picture],
        timeout_s: float,
        reading: Callable[[float, Mapping[str, str]], Reading],
    ) -> list[Outcome]:
        """One request, which has `timeout_s`; an outcome for each picture, the same object for all where the request
        failed as one. Never raises but when cancelled."""
        try:
            began = time.perf_counter()
            status, answer, headers = await self._exchange(url, pictures, timeout_s)
            client_ms = (time.perf_counter() - began) * 1000
        except (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            return [error_of(code_of(error), detail_of(error))] * len(pictures)
        except ValueError as error:  # after the others: a certificate that is not believed is one, too
            return [error_of("not_json", str(error), status=200)] * len(pictures)
        if status != 200:
            return [_refusal(status, answer, headers)] * len(pictures)
        return _outcomes(answer, pictures, reading(client_ms, headers))

    async def _exchange(
        self, url: str, pictures: Sequence[Picture], timeout_s: float
    ) -> tuple[int, object, Mapping[str, str]]:
        """Raises what aiohttp raises, and ValueError for a success that is no JSON."""
        picture, *others = pictures
        headers = {"X-Request-Timeout": f"{max(timeout_s, 0.001):.3f}"}
        if not others:
            headers["Content-Type"] = picture.content_type
        async with self._opened().post(
            url,
            data=_form(pictures) if others else io.BytesIO(picture.body),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=timeout_s + GRACE_S),
            allow_redirects=False,
            proxy=proxy_of(url),
        ) as response:
            return response.status, await _read_answer(response), response.headers

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._tls or True),  # bounded by who calls
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def request_url(url: str, model: str, parameters: Mapping[str, object]) -> str:
    """An address without a path is a gateway: `/inference/MODEL` is added. One with a path is taken as it is. Raises
    ValueError."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good, parts = False, urlsplit("")
    if not is_good or parts.username is not None:
        raise ValueError(f"{url!r} is not an address: give http:// or https://, a host, and no user")
    path = f"/inference/{quote(model, safe='')}" if parts.path in ("", "/") else parts.path
    given = {name: value for name, value in parameters.items() if value is not None}
    query = "&".join(filter(None, [parts.query, urlencode(given)]))
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))


def tls_context(url: str, ca: str | os.PathLike[str] | ssl.SSLContext | None) -> ssl.SSLContext | None:
    """Verifies with this CA, or with that of GATEWAY_CA, or with the system's (and SSL_CERT_FILE's); None for http.
    Raises ValueError for a file that is none."""
    if isinstance(ca, ssl.SSLContext) or not url.startswith("https://"):
        return ca if isinstance(ca, ssl.SSLContext) else None
    file = ca or os.environ.get(CA_VARIABLE) or None
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"cannot use {file} as a CA: {getattr(error, 'strerror', None) or error}") from error


def proxy_of(url: str) -> str | None:
    """The environment's proxy for this address (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), if it has one."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _form(pictures: Sequence[Picture]) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for place, picture in enumerate(pictures):
        # its place for a name: the answer is in this order, and no name of a file can upset a header
        form.add_field("image", io.BytesIO(picture.body), filename=str(place), content_type=picture.content_type)
    return form


def _outcomes(answer: object, pictures: Sequence[Picture], reading: Reading) -> list[Outcome]:
    """From what a gateway answered with 200: an object for one picture, a list for several."""
    entries = answer if isinstance(answer, list) else [answer]
    if len(entries) != len(pictures):
        told = f"{len(entries)} answers for {len(pictures)} pictures"
        return [error_of("bad_answer", told, status=200, request_id=reading.request_id)] * len(pictures)
    return [result_of(picture.name, entry, reading) for picture, entry in zip(pictures, entries, strict=True)]


def reading_of(headers: Mapping[str, str], client_ms: float, waited_ms: float, count: int, tries: int) -> Reading:
    """What the headers of an answer to `count` pictures say."""
    stages_ms = stages_of_header(headers.get("Server-Timing", "")) if count == 1 else {}
    timing = Timing(stages_ms, client_ms, waited_ms, is_shared=count > 1)
    return Reading(headers.get("X-Request-ID", "")[:80], timing, tries)


def _refusal(status: int, answer: object, headers: Mapping[str, str]) -> ClientError:
    """From a problem document (docs/reference/errors.md), or from whatever else a server says."""
    members = answer if isinstance(answer, dict) else {}
    return error_of(
        str(members.get("code") or f"http_{status}"),
        str(members.get("detail") or headers.get("Location", "")),
        status=status,
        request_id=headers.get("X-Request-ID", "")[:80],
        retry_after_s=retry_after_s(headers.get("Retry-After"), datetime.now(UTC)),
    )


async def _read_answer(response: aiohttp.ClientResponse) -> object:
    """The JSON of any answer, the text of a failed one that is none. Raises ValueError."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise ValueError(f"an answer of over {MAX_ANSWER_BYTES} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        text = bytes(body[:200]).decode("utf-8", "replace").strip()
        if response.status == 200:
            raise ValueError(f"the answer is not JSON: {text!r}") from None
        return {"detail": text}


def code_of(error: Exception) -> str:
    """One short word for a failure without an answer."""
    for kinds, code in _CODES:
        if isinstance(error, kinds):
            return code
    return type(error).__name__


_CODES: Sequence[tuple[type[BaseException] | tuple[type[BaseException], ...], str]] = (
    ((TimeoutError, aiohttp.ServerTimeoutError), "timeout"),
    ((aiohttp.ClientSSLError, ssl.SSLError), "tls"),
    (aiohttp.ClientConnectorDNSError, "dns"),
    (aiohttp.ClientConnectorError, "refused"),
    (aiohttp.ServerDisconnectedError, "closed"),
    ((ConnectionResetError, BrokenPipeError), "reset"),
    ((aiohttp.ClientPayloadError, asyncio.IncompleteReadError), "cut_off"),
    (aiohttp.ClientHttpProxyError, "refused"),
    (aiohttp.ClientResponseError, "not_http"),
    (aiohttp.ClientOSError, "reset"),
)


def detail_of(error: Exception) -> str:
    """The text of a failure, without the library's repetition of the address."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    return str(cause) or type(error).__name__
