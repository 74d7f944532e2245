"""How many queries a claim about a percentile needs, as MLPerf LoadGen counts them.

That a share q of all queries stays under a bound is claimed with 99 % confidence from n queries of which t were over it
when P(Bin(n, 1 - q) <= t) <= 1 %: were the true share only q, so few would be over by luck once in a hundred times.
For q = 0.99 and t = 0, 1, 2, 5, 10 this gives n = 459, 662, 838, 1307, 2010.
"""

from __future__ import annotations

import math

import numpy as np

CONFIDENCE = 0.99
P99 = 0.99


def allowed_over(n: int, q: float = P99) -> int | None:
    """The most queries over the bound among n with which the claim still holds; None: n is too small for any."""
    if n < 1:
        return None
    k = np.arange(1, min(n, math.ceil(n * (1 - q)) + 1) + 1, dtype=np.float64)
    steps = np.log((n - k + 1) / k) + math.log1p(-q) - math.log(q)
    log_p = n * math.log(q) + np.concatenate([[0.0], np.cumsum(steps)])
    holding = int(np.searchsorted(np.cumsum(np.exp(log_p)), 1 - CONFIDENCE, side="right"))
    return holding - 1 if holding else None


def queries_needed(over: int, q: float = P99) -> int:
    """The fewest queries with which the claim holds although `over` of them were over the bound."""
    low, high = 0, 1  # n that are too small, and large enough once the loop below has ended
    while not _holds(high, over, q):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _holds(middle, over, q) else (middle, high)
    return high


def _holds(n: int, over: int, q: float) -> bool:
    allowed = allowed_over(n, q)
    return allowed is not None and over <= allowed
