"""How long a pretended computation takes: a distribution with its own seedable draw, and the text that names one.

For tests and benchmarks. The texts are those of `--echo-service-time`: `20ms`, `uniform:10ms,30ms`,
`exponential:20ms`, `lognormal:20ms,0.5`, `bimodal:8ms,80ms,0.1`.
"""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass

MAX_SERVICE_TIME_S = 3600.0
"""Longer than any deadline in use; it also cuts off the tail of the unbounded distributions."""

_SHAPES = {
    "constant": ("TIME",),
    "uniform": ("LEAST", "MOST"),
    "exponential": ("MEAN",),
    "lognormal": ("MEDIAN", "SIGMA"),
    "bimodal": ("FAST", "SLOW", "SHARE_OF_SLOW"),
}
_PLAIN = ("SIGMA", "SHARE_OF_SLOW")
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s)")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """A named distribution. `numbers` are seconds, but for lognormal's sigma and bimodal's share of slow calls."""

    distribution: str = "constant"
    numbers: tuple[float, ...] = (0.0,)

    def draw_s(self, rng: random.Random) -> float:
        """One service time in seconds, at most MAX_SERVICE_TIME_S."""
        return min(self._draw_s(rng), MAX_SERVICE_TIME_S)

    def _draw_s(self, rng: random.Random) -> float:
        match self.distribution, self.numbers:
            case "constant", (time_s,):
                return time_s
            case "uniform", (least_s, most_s):
                return rng.uniform(least_s, most_s)
            case "exponential", (mean_s,):
                return rng.expovariate(1.0 / mean_s) if mean_s else 0.0
            case "lognormal", (median_s, sigma):
                return median_s * math.exp(rng.gauss(0.0, sigma))
            case "bimodal", (fast_s, slow_s, share):
                return slow_s if rng.random() < share else fast_s
        raise AssertionError(f"no such distribution: {self}")

    def __str__(self) -> str:
        shape = _SHAPES[self.distribution]
        texts = (f"{n:g}" if what in _PLAIN else f"{n * 1e3:g}ms" for what, n in zip(shape, self.numbers, strict=True))
        return f"{self.distribution}:{','.join(texts)}"


def parse_service_time(text: str) -> ServiceTime:
    """Reads `20ms` or `<distribution>:<numbers>`. Raises ValueError that says what is allowed."""
    name, colon, rest = text.partition(":")
    if not colon:
        name, rest = "constant", text
    shape = _SHAPES.get(name)
    parts = rest.split(",")
    if shape is None or len(parts) != len(shape):
        raise ValueError(f"{text!r}: must be {_allowed()}")
    numbers = tuple(_number(text, part.strip(), what) for part, what in zip(parts, shape, strict=True))
    if name == "uniform" and numbers[0] > numbers[1]:
        raise ValueError(f"{text!r}: LEAST must not be over MOST")
    return ServiceTime(name, numbers)


def _number(text: str, part: str, what: str) -> float:
    if what in _PLAIN:
        most = 1.0 if what == "SHARE_OF_SLOW" else 10.0
        if _NUMBER.fullmatch(part) and float(part) <= most:
            return float(part)
        raise ValueError(f"{text!r}: {what} must be a number from 0 to {most:g}, not {part!r}")
    match = _DURATION.fullmatch(part)
    if match and float(match[1]) * _UNITS_S[match[2]] <= MAX_SERVICE_TIME_S:
        return float(match[1]) * _UNITS_S[match[2]]
    raise ValueError(f"{text!r}: {what} must be like 20ms, 0.5s or 800us, up to {MAX_SERVICE_TIME_S:g}s, not {part!r}")


def _allowed() -> str:
    return "a time like 20ms, or one of " + ", ".join(f"{name}:{','.join(shape)}" for name, shape in _SHAPES.items())
