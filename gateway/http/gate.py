"""The token of a request, judged before anything else of it is looked at."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import hdrs, web

from gateway.auth import TokenRefused
from gateway.http.call import CALL
from gateway.http.ports import Authenticator, Principal
from gateway.metrics import Metrics


class Gate:
    """Asks the authenticator, times it, and counts refusals by reason."""

    def __init__(
        self, authenticator: Authenticator, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._authenticator = authenticator
        self._metrics = metrics
        self._clock = clock

    def admit(self, request: web.Request) -> Principal:
        """Who sent this request. Raises Unauthenticated."""
        call = request[CALL]
        started = self._clock()
        try:
            principal = self._authenticator.authenticate(request.headers.get(hdrs.AUTHORIZATION))
        except TokenRefused as error:
            self._metrics.tokens_refused.add(error.reason)
            raise
        finally:
            call.stopwatch.auth_s = self._clock() - started
        call.subject = principal.subject
        return principal
