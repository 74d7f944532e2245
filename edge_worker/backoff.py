"""How long to wait before dialling again: full jitter, so that a thousand workers do not return in the same second.

Pure: the random source and the times are given. The source of the rule is AWS's "Exponential Backoff and Jitter"; the
reset after a connection that lived is cloudflared's.
"""

from __future__ import annotations

import random

BASE_S = 0.5
CAP_S = 15.0
LIVED_S = 10.0
"""A connection that lived this long was a good one: the next failure starts from the base again."""
SLOW_S = 30.0
"""After a refusal that waiting does not mend (a bad token, a name in use), a person has to act: no hurry."""


class Backoff:
    """One gateway's row of failures."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failures = 0

    def connection_lived(self, seconds: float) -> None:
        """A connection ended after so long."""
        if seconds >= LIVED_S:
            self._failures = 0

    def next_delay_s(self, retry_after_s: float | None = None, *, is_refusal: bool = False) -> float:
        """random(0, min(CAP_S, BASE_S x 2^n)); after a refusal, SLOW_S to twice that; never before Retry-After."""
        ceiling_s = min(CAP_S, BASE_S * 2.0**self._failures)
        self._failures = min(self._failures + 1, 16)
        delay_s = self._rng.uniform(SLOW_S, 2 * SLOW_S) if is_refusal else self._rng.uniform(0, ceiling_s)
        return delay_s if retry_after_s is None else retry_after_s + self._rng.uniform(0, ceiling_s)
