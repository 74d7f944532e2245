"""Asks a running gateway whether it answers: the HEALTHCHECK of its image, as `python -m gateway.health`.

By HTTP on this machine: the admin listener's /healthz, or what HEALTH_URL names. Does not read the configuration, which
would cost as much as a start of the gateway, every few seconds.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import ssl
import sys
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

TIMEOUT_S = 5.0
DEFAULT = "http://127.0.0.1:{port}/healthz"


def url(environment: Mapping[str, str]) -> str:
    """What is asked: HEALTH_URL, else the admin listener where the environment has put it."""
    return environment.get("HEALTH_URL") or DEFAULT.format(port=environment.get("GATEWAY_ADMIN__PORT") or "9443")


def ask(address: str, timeout_s: float = TIMEOUT_S) -> tuple[bool, str]:
    """Whether it answers 200, and a line that says what came. The certificate is not verified: what is asked is whether
    this machine's own gateway answers, under whatever name its certificate has."""
    try:
        with contextlib.closing(_connection(urlsplit(address), timeout_s)) as connection:
            connection.request("GET", urlsplit(address).path or "/")
            status = connection.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as error:
        return False, f"{address}: {str(error) or type(error).__name__}"
    return status == 200, f"{address}: {status}"


def _connection(parts: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    if parts.scheme != "https":
        return http.client.HTTPConnection(parts.netloc, timeout=timeout_s)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(parts.netloc, timeout=timeout_s, context=context)


def main() -> int:
    """The status that HEALTHCHECK understands: 0 is healthy, 1 is not."""
    is_healthy, text = ask(url(os.environ))
    sys.stdout.write(text + "\n")
    return 0 if is_healthy else 1


if __name__ == "__main__":
    sys.exit(main())
