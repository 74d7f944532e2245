"""All pictures of a folder, some requests at a time, each until it is answered or given up.

The first request goes alone: what is wrong with address, token or model shows in it, and is said at once. A batch that
is too large for the gateway is halved. Whatever ends a run early, the results so far are there.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.classification.folder import Picture
from bench.classification.gateway import LOST, Gateway, Reply
from bench.classification.labels import Truth, truth_of
from bench.classification.retry import Bounds, next_wait_s
from bench.classification.score import Result

TOO_LARGE = 413


@dataclass
class Run:
    """One walk through the pictures. `go` once."""

    gateway: Gateway
    truths: Mapping[str, Truth]
    bounds: Bounds
    concurrency: int
    random_source: random.Random
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    on_result: Callable[[Result], None] = lambda _result: None
    results: list[Result] = field(default_factory=list)
    """Of the pictures that are over, in the order in which they were."""
    final: Reply | None = None
    """What ended the run early, since it would have met every picture."""
    requests: int = 0
    waited_s: float = 0.0
    """Sum of the waits before further tries."""
    _has_answered: bool = False
    """Whether the address is known to be good."""

    async def go(self, batches: Iterable[Sequence[Picture]]) -> None:
        """Ends when all are over, or `final` is set. Cancelled: what is in flight is dropped."""
        ahead = iter(batches)
        first = next(ahead, None)
        if first is not None:
            await self._settle(first, 0)
        async with asyncio.TaskGroup() as group:
            for _ in range(self.concurrency):
                group.create_task(self._take(ahead))

    async def _take(self, ahead: Iterable[Sequence[Picture]]) -> None:
        for batch in ahead:
            if self.final is not None:
                return
            await self._settle(batch, 0)

    async def _settle(self, pictures: Sequence[Picture], tries: int) -> None:
        """Until each has a result, unless the run ends early."""
        while pictures and self.final is None:
            tries += 1
            self.requests += 1
            replies = await self.gateway.classify(pictures)
            if replies[0].status == TOO_LARGE and len(pictures) > 1 and len(set(map(id, replies))) == 1:
                middle = len(pictures) // 2
                await self._settle(pictures[:middle], tries - 1)
                await self._settle(pictures[middle:], tries - 1)
                return
            pictures = await self._sort(pictures, replies, tries)

    async def _sort(self, pictures: Sequence[Picture], replies: Sequence[Reply], tries: int) -> list[Picture]:
        """Notes what is over, waits for the rest, and returns the rest."""
        again: list[Picture] = []
        waits_s = [0.0]
        self._has_answered |= any(reply.status and not reply.is_final for reply in replies)
        for picture, reply in zip(pictures, replies, strict=True):
            if self._is_final(reply):
                self.final = reply
                return []
            wait_s = next_wait_s(self.bounds, tries, reply.retry_after_s, self.random_source)
            if reply.is_retried and wait_s is not None:
                again.append(picture)
                waits_s.append(wait_s)
            else:
                self._note(picture, reply, tries)
        if again:
            self.waited_s += max(waits_s)
            await self.sleep(max(waits_s))
        return again

    def _is_final(self, reply: Reply) -> bool:
        """A connection that was never there is a wrong address; one that is lost may come back."""
        never_there = reply.status == 0 and reply.reason in LOST and not self._has_answered
        return reply.is_final or never_there

    def _note(self, picture: Picture, reply: Reply, tries: int) -> None:
        result = Result(
            picture.name,
            reply.predictions,
            reply.worker,
            reply.reason,
            reply.detail,
            tries,
            truth_of(picture.name, self.truths),
        )
        self.results.append(result)
        self.on_result(result)
