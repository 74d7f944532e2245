"""Dials a gateway.

TLS is always verified. A proxy is taken from HTTPS_PROXY and NO_PROXY, credentials in its address included. What goes
wrong becomes a DialFailed that says whether waiting helps.
"""

from __future__ import annotations

import email.utils
import json
import ssl
import time
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import (
    InvalidHandshake,
    InvalidProxy,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidURI,
    ProxyError,
)
from websockets.http11 import Response
from websockets.typing import Subprotocol

from edge_worker.channel import DialledChannel, FrameConnection
from wire import SUBPROTOCOL, TUNNEL_PATH
from wire.channel import CLOSE_TIMEOUT_S, WRITE_BUFFER_BYTES
from wire.limits import KIB, MAX_MESSAGE_BYTES

DIAL_TIMEOUT_S = 10.0
"""Seconds for TCP, proxy, TLS and upgrade together."""

MAX_RETRY_AFTER_S = 300.0
"""The longest Retry-After that is believed."""

_REFUSALS = frozenset({400, 401, 403, 404, 405, 426})
"""Statuses that the same request meets again: a person has to change something."""

_NAME_MISMATCHES = frozenset({62, 64})
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


class DialFailed(Exception):
    """No tunnel. `is_refusal`: waiting does not help; `retry_after_s`: the gateway said when to come back."""

    def __init__(self, text: str, *, is_refusal: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.is_refusal = is_refusal
        self.retry_after_s = retry_after_s


def tunnel_url(gateway: str) -> str:
    """The WebSocket address of a gateway given as wss://HOST[:PORT][/PATH] or https://... Raises ValueError."""
    parts = urlsplit(gateway if "://" in gateway else f"wss://{gateway}")
    if parts.scheme not in ("wss", "https"):
        raise ValueError("must begin with wss:// or https://; a tunnel is never unencrypted")
    is_plain = gateway.isascii() and gateway.isprintable() and not set(gateway) & set(" @?#\\")
    if not parts.hostname or not is_plain:
        raise ValueError("must be wss://HOST[:PORT], without user, query or fragment")
    _ = parts.port  # raises ValueError when it is none
    return f"wss://{parts.netloc}{parts.path if parts.path not in ('', '/') else TUNNEL_PATH}"


def tls_context(ca_file: Path | None, certificate: Path | None, private_key: Path | None) -> ssl.SSLContext:
    """Verifies the gateway with the system's authorities or `ca_file` alone; shows a client certificate if given one.
    Raises ValueError that names the file that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ValueError(f"ca-file = {ca_file}: must be certificates in PEM: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        try:
            # An empty password, or OpenSSL would ask the terminal for the one of a protected key and wait.
            context.load_cert_chain(certificate, private_key, password="")
        except OSError as error:
            files = f"certificate-file = {certificate}, key-file = {private_key or certificate}"
            raise ValueError(f"{files}: must be a certificate and its key, no password, in PEM: {error}") from error
    return context


async def dial(url: str, token: str, tls: ssl.SSLContext) -> DialledChannel:
    """Opens the tunnel's connection. Raises DialFailed."""
    try:
        connection = await connect(
            url,
            ssl=tls,
            create_connection=FrameConnection,
            additional_headers={"Authorization": f"Bearer {token}"},
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            user_agent_header=None,
            compression=None,  # a JPEG does not shrink
            open_timeout=DIAL_TIMEOUT_S,
            ping_interval=None,  # heartbeats are the protocol's own
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MAX_MESSAGE_BYTES,
            write_limit=WRITE_BUFFER_BYTES,
        )
    except InvalidStatus as error:
        raise _refused(error.response) from error
    except InvalidProxyStatus as error:
        status = error.response.status_code
        raise DialFailed(f"the proxy answered {status}; check HTTPS_PROXY and its credentials") from error
    except (InvalidProxy, ImportError) as error:  # ImportError: a SOCKS proxy, for which a library is missing
        # `msg` is without the proxy's address: there may be a password in that
        raise DialFailed(f"HTTPS_PROXY cannot be used: {error.msg}", is_refusal=True) from error
    except ProxyError as error:
        raise DialFailed(f"the proxy cannot be used: {error}") from error
    except ssl.SSLCertVerificationError as error:
        is_other_name = error.verify_code in _NAME_MISMATCHES
        advice = "is the address one of its names?" if is_other_name else "is --ca-file the right one?"
        text = f"the gateway's certificate does not verify: {error.verify_message.rstrip('.')}; {advice}"
        raise DialFailed(text, is_refusal=True) from error
    except ssl.SSLError as error:
        raise DialFailed(f"no TLS with the other side: {error}; is it a gateway's public port?") from error
    except TimeoutError as error:
        raise DialFailed(f"no connection within {DIAL_TIMEOUT_S:g} s") from error
    except (OSError, InvalidHandshake, InvalidURI, EOFError) as error:
        raise DialFailed(f"no connection: {error}") from error
    if connection.subprotocol != SUBPROTOCOL:
        await connection.close()
        raise DialFailed(f"the other side does not speak {SUBPROTOCOL}; is it a gateway?", is_refusal=True)
    assert isinstance(connection, FrameConnection)  # as asked above
    return DialledChannel(connection)


def _refused(response: Response) -> DialFailed:
    status = response.status_code
    text = f"the gateway answered {status}"
    detail = _detail(response)
    return DialFailed(
        f"{text}: {detail}" if detail else text,
        is_refusal=status in _REFUSALS,
        retry_after_s=_retry_after_s(response.headers.get_all("Retry-After")),
    )


def _detail(response: Response) -> str:
    """The gateway's own words, when its answer is short enough to be some (application/problem+json)."""
    try:
        problem = json.loads(bytes(response.body or b"")[: 4 * KIB])
    except (ValueError, RecursionError):
        return ""
    return str(problem.get("detail", ""))[:500] if isinstance(problem, dict) else ""


def _retry_after_s(values: Sequence[str]) -> float | None:
    """Seconds of a Retry-After header, a number or a date (RFC 9110 10.2.3); None when there is none to read."""
    if not values:
        return None
    value = values[0].strip()
    if value.isascii() and value.isdigit():
        return min(float(value), MAX_RETRY_AFTER_S)
    try:
        at = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    left_s = at.replace(tzinfo=at.tzinfo or UTC).timestamp() - time.time()
    return min(max(0.0, left_s), MAX_RETRY_AFTER_S)
