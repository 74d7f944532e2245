"""Delays that vary: a named distribution, and a memory that fades with time.

A Gaussian process of Ornstein and Uhlenbeck gives the rank, the distribution's quantile function gives the delay: so
each distribution keeps its own shape however strong the memory is, and the memory does not depend on how many pieces
are sent.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from statistics import NormalDist

from bench.network.profile import Jitter

NS = 1_000_000_000
MOST_Z = 5.0
"""Ranks beyond 1 in 3.5 million are cut, so that no distribution gives an hour."""
LOGNORMAL_SIGMA = 1.0
PARETO_ALPHA = 3.0
"""Of Lomax's form, which begins at 0. From 2 on the variance is finite, from 1 on the mean is."""
GAMMA_SHAPE = 4
"""Queues of several hops, one after the other."""
_NORMAL = NormalDist()

Quantile = Callable[[float, float], float]
"""From a standard normal value and the shape to a multiple of the mean; grows with the value."""


def _tail(z: float) -> float:
    """P(Z > z), exact also where 1 - P(Z <= z) is not."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def _half_normal(z: float, _shape: float) -> float:
    return _NORMAL.inv_cdf(1 - _tail(z) / 2) * math.sqrt(math.pi / 2)


def _lognormal(z: float, shape: float) -> float:
    sigma = shape or LOGNORMAL_SIGMA
    return math.exp(sigma * z - sigma * sigma / 2)


def _pareto(z: float, shape: float) -> float:
    alpha = shape or PARETO_ALPHA
    return (alpha - 1) * (math.pow(_tail(z), -1 / alpha) - 1)


def _gamma(z: float, _shape: float) -> float:
    """Wilson and Hilferty's cube (1931): within 1 % of the exact quantiles from 1 % to 99.9 %."""
    return float(max(0.0, 1 - 1 / (9 * GAMMA_SHAPE) + z / (3 * math.sqrt(GAMMA_SHAPE))) ** 3)


DISTRIBUTIONS: dict[str, Quantile] = {
    "none": lambda _z, _shape: 0.0,
    "uniform": lambda z, _shape: 2 * (1 - _tail(z)),
    "exponential": lambda z, _shape: -math.log(_tail(z)),
    "half-normal": _half_normal,
    "gamma": _gamma,
    "lognormal": _lognormal,
    "pareto": _pareto,
}
"""All have the mean 1 (`none` has 0), from light tails to heavy ones."""


class JitterProcess:
    """One way's jitter. The same generator and the same times give the same delays."""

    def __init__(self, jitter: Jitter, random_source: random.Random) -> None:
        self._jitter = jitter
        self._quantile = DISTRIBUTIONS[jitter.distribution]
        self._random = random_source
        self._z: float | None = None
        self._last_ns = 0

    def next_s(self, now_ns: int) -> float:
        """The extra delay of what leaves now. Times do not run backwards."""
        if not self._jitter.mean_s:
            return 0.0
        z = self._random.gauss()
        if self._z is not None and self._jitter.correlation_s:
            kept = math.exp(-(now_ns - self._last_ns) / NS / self._jitter.correlation_s)
            z = kept * self._z + math.sqrt(1 - kept * kept) * z
        self._z, self._last_ns = z, now_ns
        return self._jitter.mean_s * self._quantile(max(-MOST_Z, min(MOST_Z, z)), self._jitter.shape)
