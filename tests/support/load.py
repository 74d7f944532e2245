"""Keeps a number of requests in flight and remembers how each ended: with a status, or with the error that it met.

async with Load(stack, "/inference/echo", b"picture", in_flight=50) as load:
    await load.wait_answers(200)
assert load.statuses() == {200: len(load.outcomes)}

Nothing is tried again, neither here nor by the HTTP client: what a client would see is what is counted.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType

import aiohttp

from demo.stack import Stack

PATIENCE_S = 60.0
"""Longer than any deadline of the gateway: a request that takes as long was forgotten."""


@dataclass(frozen=True)
class Outcome:
    """How one request ended. Times are seconds of the monotonic clock."""

    began: float
    ended: float
    status: int
    """0 where there was no answer."""
    error: str
    """The problem's code, `not connected`, or the name of the exception; empty for an answer."""
    worker: str
    retry_after_s: int | None
    text: str
    """The body, or the exception."""


class Load:
    """Clients with a connection each, that send one request after the other."""

    def __init__(
        self, stack: Stack, path: str, body: bytes, *, in_flight: int, content_type: str = "image/png"
    ) -> None:
        self.outcomes: list[Outcome] = []
        self._url = stack.url + path
        self._body = body
        self._headers = {
            "Authorization": f"Bearer {stack.credentials.client_token.read_text().strip()}",
            "Content-Type": content_type,
        }
        self._tls = ssl.create_default_context(cafile=stack.credentials.ca)
        self._in_flight = in_flight
        self._clients: list[asyncio.Task[None]] = []
        self._is_over = False
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Load:
        self._clients = [asyncio.create_task(self._client()) for _ in range(self._in_flight)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Sends no more, and waits for what is in flight."""
        self.stop()
        if kind is not None:
            for client in self._clients:
                client.cancel()
        ends = await asyncio.gather(*self._clients, return_exceptions=True)
        if kind is None:
            assert not any(ends), ends

    def stop(self) -> None:
        """Every client ends with the request that it waits for now."""
        self._is_over = True

    async def wait_answers(self, count: int) -> None:
        """Returns when so many more requests have ended."""
        goal = len(self.outcomes) + count
        async with asyncio.timeout(PATIENCE_S):
            while len(self.outcomes) < goal:
                self._changed.clear()
                await self._changed.wait()

    def statuses(self) -> dict[int, int]:
        """How often each status came; 0 is no answer."""
        return dict(Counter(outcome.status for outcome in self.outcomes))

    def failures(self) -> list[Outcome]:
        """All that was not answered with 200."""
        return [outcome for outcome in self.outcomes if outcome.status != 200]

    async def _client(self) -> None:
        """Until told to stop; also ends with the first failure, as one that goes elsewhere then."""
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=1)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self._headers) as session:
            while not self._is_over:
                outcome = await self._request(session)
                self.outcomes.append(outcome)
                self._changed.set()
                if outcome.status != 200:
                    return

    async def _request(self, session: aiohttp.ClientSession) -> Outcome:
        began = time.monotonic()
        try:
            async with session.post(self._url, data=self._body) as response:
                text = await response.text()
                answer = json.loads(text)
                after = response.headers.get("Retry-After")
                return Outcome(
                    began,
                    time.monotonic(),
                    response.status,
                    error="" if response.status == 200 else answer["code"],
                    worker=answer.get("worker", "") if isinstance(answer, dict) else "",
                    retry_after_s=None if after is None else int(after),
                    text=text,
                )
        except aiohttp.ClientConnectorError as error:  # nobody listened: the request was not sent
            return Outcome(began, time.monotonic(), 0, "not connected", "", None, str(error))
        except (aiohttp.ClientError, TimeoutError) as error:
            return Outcome(began, time.monotonic(), 0, type(error).__name__, "", None, str(error))
