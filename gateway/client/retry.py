"""When to try again, and with what: 429 and 503 say when, a lost connection does not.

Never earlier than Retry-After, since that is what the gateway asks for, and at random after it (full jitter, over a
range that doubles), so that clients that were refused together do not come back together. Nothing is sent here: `send`
does, and time is the clock's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol, TypeVar

from gateway.client.errors import ClientError
from gateway.client.results import Outcome

FIRST_RANGE_S = 1.0
"""The first wait is up to this above what the gateway asks for; doubled each time."""
TOO_LARGE = 413


class Clock(Protocol):
    """Where waiting and time come from; tests bring their own."""

    def now(self) -> float:
        """Monotonic seconds."""

    async def sleep(self, seconds: float) -> None:
        """Waits."""


class SystemClock:
    """The machine's."""

    def now(self) -> float:
        """As the protocol says."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """As the protocol says."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True)
class Bounds:
    """How patient a client is."""

    tries: int = 6
    """Of one picture, the first one included."""
    most_wait_s: float = 60.0
    """A wait that would be longer is not begun: the picture has failed."""


def next_wait_s(bounds: Bounds, tries: int, retry_after_s: float | None, random_source: random.Random) -> float | None:
    """Seconds until the next try after so many (1 or more); None to give up."""
    least_s = retry_after_s or 0.0
    if tries >= bounds.tries or least_s > bounds.most_wait_s:
        return None
    return least_s + random_source.uniform(0, min(bounds.most_wait_s, FIRST_RANGE_S * 2 ** (tries - 1)))


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Seconds from a Retry-After of seconds or a date (RFC 9110 10.2.3); None without a usable one."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:  # "-0000" says that the zone is not known: HTTP's is GMT
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())


T = TypeVar("T")
Send = Callable[[Sequence[T], int, float], Awaitable[Sequence[Outcome]]]
"""(what to send, which try this is, seconds that are left) -> an outcome for each, in order; the same object for all
where the request failed as a whole. Never raises but when cancelled."""


@dataclass
class Patience:
    """One client's way of trying again."""

    bounds: Bounds = Bounds()
    clock: Clock = field(default_factory=SystemClock)
    random_source: random.Random = field(default_factory=random.Random)
    requests: int = 0
    """Sent so far."""
    waited_s: float = 0.0
    """Sum of the waits before further tries."""
    has_answered: bool = False
    """Whether the address is known to be good: before that, a connection that cannot be made is not tried again."""

    async def settle(self, items: Sequence[T], send: Send[T], timeout_s: float) -> list[Outcome]:
        """An outcome for each, in order, all tries within `timeout_s`. What was refused is sent again, alone; a request
        that is too large is halved."""
        until = self.clock.now() + timeout_s
        outcomes: dict[int, Outcome] = {}
        await self._settle(dict(enumerate(items)), send, until, 0, outcomes)
        return [outcomes[place] for place in range(len(items))]

    async def _settle(
        self, ahead: dict[int, T], send: Send[T], until: float, tries: int, outcomes: dict[int, Outcome]
    ) -> None:
        while ahead:
            tries += 1
            self.requests += 1
            replies = await send(list(ahead.values()), tries, until - self.clock.now())
            self.has_answered |= any(_says_that_it_is_there(reply) for reply in replies)
            if len(ahead) > 1 and _is_too_large_together(replies):
                items = list(ahead.items())
                for half in (items[: len(items) // 2], items[len(items) // 2 :]):
                    await self._settle(dict(half), send, until, tries - 1, outcomes)
                return
            ahead = await self._sort(ahead, replies, until, tries, outcomes)

    async def _sort(
        self, ahead: dict[int, T], replies: Sequence[Outcome], until: float, tries: int, outcomes: dict[int, Outcome]
    ) -> dict[int, T]:
        """Notes what is over, waits for the rest, and returns the rest."""
        again: dict[int, T] = {}
        longest_s = 0.0
        for (place, item), reply in zip(ahead.items(), replies, strict=True):
            wait_s = self._wait_s(reply, tries) if isinstance(reply, ClientError) else None
            if wait_s is not None and self.clock.now() + wait_s < until:
                again[place] = item
                longest_s = max(longest_s, wait_s)
            else:
                outcomes[place] = _with_tries(reply, tries)
        if again:
            self.waited_s += longest_s
            await self.clock.sleep(longest_s)
        return again

    def _wait_s(self, error: ClientError, tries: int) -> float | None:
        if not error.is_retried or (error.is_lost and not self.has_answered):
            return None
        return next_wait_s(self.bounds, tries, error.retry_after_s, self.random_source)


def _says_that_it_is_there(reply: Outcome) -> bool:
    return not isinstance(reply, ClientError) or bool(reply.status and not reply.is_final)


def _is_too_large_together(replies: Sequence[Outcome]) -> bool:
    """Whether the request was refused as one, which no picture need be to blame for."""
    first = replies[0]
    return isinstance(first, ClientError) and first.status == TOO_LARGE and all(reply is first for reply in replies)


def _with_tries(reply: Outcome, tries: int) -> Outcome:
    if isinstance(reply, ClientError):
        reply.tries = tries
        return reply
    return replace(reply, tries=tries)
