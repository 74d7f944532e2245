"""The client for programs with an event loop. What it sends is `connection.py`'s, when it tries again `retry.py`'s."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from types import TracebackType

from gateway.client.connection import Connections, reading_of, request_url, tls_context
from gateway.client.errors import ClientError
from gateway.client.pictures import Picture, Source, read_picture
from gateway.client.results import Outcome, Result
from gateway.client.retry import Bounds, Patience

DEFAULT_TIMEOUT_S = 30.0
"""As the gateway's `limits.default_timeout_s` by default."""
TOKEN_VARIABLE = "GATEWAY_TOKEN"  # noqa: S105 - a name
CONCURRENCY = 8
"""Pictures in flight of one `classify_many`: a handful keeps two workers busy over any network."""


class AsyncClient:
    """Classifies pictures through one gateway. Use as an async context manager, or `close` it.

    One of these serves any number of tasks of one event loop; its connections are kept alive between calls.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        ca: str | os.PathLike[str] | ssl.SSLContext | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        try_timeout_s: float | None = None,
        retry: Bounds | Patience | None = None,
        worker: str | None = None,
        user_agent: str = "edge-gateway-client",
    ) -> None:
        """`url`: a gateway, or with a path any address that takes a picture. `token`: None looks at GATEWAY_TOKEN, ''
        sends none. `ca`: a file, a context, or None for GATEWAY_CA and then the system's. `timeout_s`: of a call, all
        its tries together, unless the call says another. `try_timeout_s`: of one try; None for what is left. `worker`:
        the one that may answer, where the gateway's policy is `pin`; None for any. Raises ValueError for an address or
        a CA that cannot be used."""
        request_url(url, "", {})
        self._url = url
        self._timeout_s = timeout_s
        self._try_timeout_s = try_timeout_s
        self._patience = retry if isinstance(retry, Patience) else Patience(retry or Bounds())
        given = os.environ.get(TOKEN_VARIABLE, "").strip() if token is None else token
        self._connections = Connections(tls_context(url, ca), given, user_agent, worker)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connections."""
        await self._connections.close()

    @property
    def patience(self) -> Patience:
        """How many requests were sent, how long was waited, and whether the address ever answered."""
        return self._patience

    async def classify(
        self,
        picture: Source,
        *,
        model: str,
        top: int | None = None,
        query: str | None = None,
        timeout_s: float | None = None,
    ) -> Result:
        """The labels of a file, of an image's bytes, or of a uint8 [height, width, 3] RGB array. `top`: how many, 1 to
        1000. Raises ClientError, the kind of which says what to do."""
        (outcome,) = await self.classify_batch([picture], model=model, top=top, query=query, timeout_s=timeout_s)
        if isinstance(outcome, ClientError):
            raise outcome
        return outcome

    async def classify_batch(
        self,
        pictures: Sequence[Source],
        *,
        model: str,
        top: int | None = None,
        query: str | None = None,
        timeout_s: float | None = None,
    ) -> list[Outcome]:
        """One request with all of them, which are held in memory; an outcome for each, in order. What cannot be read
        here fails alone, what the gateway refuses is sent again alone, and too large a request is halved."""
        url = request_url(self._url, model, {"top": top, "query": query})
        outcomes = await asyncio.to_thread(_read_all, pictures)
        sent = [one for one in outcomes if isinstance(one, Picture)]
        started = self._patience.clock.now()

        async def send(some: Sequence[Picture], tries: int, left_s: float) -> list[Outcome]:
            waited_ms = (self._patience.clock.now() - started) * 1000
            return await self._connections.post(
                url,
                some,
                left_s if self._try_timeout_s is None else min(left_s, self._try_timeout_s),
                lambda client_ms, headers: reading_of(headers, client_ms, waited_ms, len(some), tries),
            )

        settled = iter(await self._patience.settle(sent, send, self._timeout_s if timeout_s is None else timeout_s))
        return [next(settled) if isinstance(one, Picture) else one for one in outcomes]

    async def classify_many(
        self,
        pictures: Iterable[Source],
        *,
        model: str,
        top: int | None = None,
        query: str | None = None,
        timeout_s: float | None = None,
        concurrency: int = CONCURRENCY,
    ) -> AsyncGenerator[Outcome, None]:
        """A request for each, `concurrency` of them at a time; an outcome for each, in order, as soon as those before
        it are there. No more pictures are taken than are in flight. Leaving early drops what is in flight."""
        ahead = iter(pictures)
        running: deque[asyncio.Task[list[Outcome]]] = deque()

        def start() -> None:
            for picture in ahead:
                call = self.classify_batch([picture], model=model, top=top, query=query, timeout_s=timeout_s)
                running.append(asyncio.create_task(call))
                return

        try:
            for _ in range(max(1, concurrency)):
                start()
            while running:
                (outcome,) = await running[0]
                running.popleft()
                start()
                yield outcome
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


def _read_all(pictures: Sequence[Source]) -> list[Picture | ClientError]:
    """In a thread: a disk or an encoder would keep everybody waiting."""
    read: list[Picture | ClientError] = []
    for place, picture in enumerate(pictures):
        try:
            read.append(read_picture(picture, place))
        except ClientError as error:
            read.append(error)
    return read
