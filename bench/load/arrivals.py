"""When requests should be sent: pure generators of offsets from the start, in ns, without a clock.

The process matters as much as the rate: the same server at the same rate had a p99 of 10.9 ms with constant gaps and of
24.3 ms with Poisson's. A closed loop has no such offsets, since its requests wait for each other: it is no arrival
here.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.errors import BenchError

NS = 1_000_000_000
DRAW = 1024
"""Random gaps drawn at once: one call of numpy costs as much as a thousand numbers."""
MAX_TRACE = 10_000_000
"""Lines of a trace: 80 MB of offsets."""

Offsets = Iterator[int]


def constant(rate: float) -> Offsets:
    """Every 1/rate seconds, for ever; each from the start, so that rounding does not add up."""
    index = 0
    while True:
        yield round(index * NS / rate)
        index += 1


def poisson(rate: float, seed: int) -> Offsets:
    """Exponential gaps of mean 1/rate, the first one before the first request: independent users."""
    random = np.random.default_rng(seed)
    at = 0.0
    while True:
        for gap in random.exponential(NS / rate, DRAW).tolist():
            at += gap
            yield round(at)


def burst(rate: float, size: int) -> Offsets:
    """`size` at once, then nothing, `rate` on average."""
    for start in constant(rate / size):
        for _ in range(size):
            yield start


def trace(file: Path) -> Offsets:
    """Offsets as recorded: see `read_trace`."""
    yield from read_trace(file)


def read_trace(file: Path) -> list[int]:
    """Offsets of a file: the first column, seconds, ascending; the first line may be a heading. A first offset other
    than 0 is kept. Raises BenchError."""
    offsets: list[int] = []
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            for number, row in enumerate(csv.reader(lines), 1):
                if not row or not row[0].strip() or row[0].startswith("#"):
                    continue
                if (offset := _offset(row[0])) is None:
                    if number == 1:
                        continue
                    raise BenchError(f"{file}, line {number}: {row[0]!r} is not a number of seconds, 0 or more")
                if offsets and offset < offsets[-1]:
                    raise BenchError(f"{file}, line {number}: {row[0]} is before the line above; offsets ascend")
                offsets.append(offset)
                if len(offsets) > MAX_TRACE:
                    raise BenchError(f"{file} has more than {MAX_TRACE} offsets")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BenchError(f"cannot read the trace {file}: {error}") from error
    if not offsets:
        raise BenchError(f"{file} has no offset: one number of seconds a line, such as 0.125")
    return offsets


def _offset(text: str) -> int | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return round(seconds * NS) if 0 <= seconds < 10**9 else None


def until(offsets: Offsets, duration_ns: int | None, count: int | None) -> Offsets:
    """The offsets before `duration_ns`, at most `count`; None is no bound."""
    for index, offset in enumerate(offsets):
        if (count is not None and index >= count) or (duration_ns is not None and offset >= duration_ns):
            return
        yield offset


@dataclass(frozen=True)
class WarmUp:
    """Which requests are dropped from every measure: those intended before `duration_ns`, and the first `count`. They
    are sent and recorded like all others."""

    duration_ns: int = 0
    count: int = 0

    def covers(self, index: int, offset_ns: int) -> bool:
        """Whether this request is dropped."""
        return index < self.count or offset_ns < self.duration_ns

    def __str__(self) -> str:
        rules = [f"the first {self.count} requests"] * bool(self.count)
        rules += [f"requests intended in the first {self.duration_ns / NS:g} s"] * bool(self.duration_ns)
        return " and ".join(rules) + " dropped" if rules else "nothing dropped"


@dataclass(frozen=True)
class Arrivals:
    """A schedule that can be begun again, and its name for the report."""

    kind: str
    """constant, poisson, burst or trace."""
    text: str
    """In words, with its parameters."""
    start: Callable[[], Offsets]
    """Begins it: the same offsets each time."""
    mean_gap_ns: int
    """Nominal; what comes after the last request of a count belongs to its window."""
