"""When to try again: 429 and 503 say when, a lost connection does not. No clock, no waiting.

Never earlier than Retry-After, since that is what the gateway asks for, and up to half of it later, so that clients
that were refused together do not come back together.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRIED = frozenset({429, 503})
DEFAULT_WAIT_S = 1.0
"""Without a usable Retry-After; doubled each time."""
SPREAD = 0.5
"""The most that is added, as a share."""


@dataclass(frozen=True)
class Bounds:
    """How patient a client is."""

    tries: int = 6
    """Of one picture, the first one included."""
    most_wait_s: float = 60.0
    """A wait that would be longer is not begun: the picture has failed."""


def next_wait_s(bounds: Bounds, tries: int, retry_after_s: float | None, random_source: random.Random) -> float | None:
    """Seconds until the next try after so many (1 or more); None to give up."""
    if tries >= bounds.tries:
        return None
    least_s = retry_after_s if retry_after_s is not None else min(bounds.most_wait_s, DEFAULT_WAIT_S * 2 ** (tries - 1))
    if least_s > bounds.most_wait_s:
        return None
    return least_s + random_source.uniform(0, SPREAD) * (least_s or DEFAULT_WAIT_S)


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
