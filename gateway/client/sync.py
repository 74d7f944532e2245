"""The client for programs without an event loop: the asynchronous one, on a loop of its own in one thread.

May be used by several threads at once; each waits for its own call.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TypeVar

from gateway.client.aio import CONCURRENCY, DEFAULT_TIMEOUT_S, AsyncClient
from gateway.client.pictures import Source
from gateway.client.results import Outcome, Result
from gateway.client.retry import Bounds

T = TypeVar("T")


class Client:
    """Classifies pictures through one gateway. Use as a context manager, or `close` it. Arguments and errors are those
    of AsyncClient."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        ca: str | os.PathLike[str] | ssl.SSLContext | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        try_timeout_s: float | None = None,
        retry: Bounds | None = None,
        worker: str | None = None,
    ) -> None:
        """As AsyncClient. Raises ValueError for an address or a CA that cannot be used."""
        self._client = AsyncClient(
            url, token=token, ca=ca, timeout_s=timeout_s, try_timeout_s=try_timeout_s, retry=retry, worker=worker
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gateway-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drops what is in flight, ends the connections and the thread; harmless when it has happened."""
        if self._loop.is_closed():
            return
        self._wait(_end(self._client))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def classify(
        self,
        picture: Source,
        *,
        model: str,
        top: int | None = None,
        query: str | None = None,
        timeout_s: float | None = None,
    ) -> Result:
        """As AsyncClient.classify."""
        return self._wait(self._client.classify(picture, model=model, top=top, query=query, timeout_s=timeout_s))

    def classify_batch(
        self,
        pictures: Sequence[Source],
        *,
        model: str,
        top: int | None = None,
        query: str | None = None,
        timeout_s: float | None = None,
    ) -> list[Outcome]:
        """As AsyncClient.classify_batch."""
        call = self._client.classify_batch(pictures, model=model, top=top, query=query, timeout_s=timeout_s)
        return self._wait(call)

    def classify_many(
        self,
        pictures: Iterable[Source],
        *,
        model: str,
        top: int | None = None,
        query: str | None = None,
        timeout_s: float | None = None,
        concurrency: int = CONCURRENCY,
    ) -> Iterator[Outcome]:
        """As AsyncClient.classify_many. The pictures are taken in the caller's thread, while its earlier ones are in
        flight."""
        running: deque[Future[list[Outcome]]] = deque()
        try:
            for picture in pictures:
                if len(running) >= max(1, concurrency):
                    yield running.popleft().result()[0]
                call = self._client.classify_batch([picture], model=model, top=top, query=query, timeout_s=timeout_s)
                running.append(self._begin(call))
            while running:
                yield running.popleft().result()[0]
        finally:
            for future in running:
                future.cancel()

    def _begin(self, call: Coroutine[object, object, T]) -> Future[T]:
        if self._loop.is_closed():
            call.close()
            raise RuntimeError("this client is closed")
        return asyncio.run_coroutine_threadsafe(call, self._loop)

    def _wait(self, call: Coroutine[object, object, T]) -> T:
        """Its result. Interrupted (Ctrl-C), the call is dropped rather than left running."""
        future = self._begin(call)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


async def _end(client: AsyncClient) -> None:
    """Cancels every other call of this loop, and waits for it."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await client.close()
    await asyncio.get_running_loop().shutdown_default_executor()
