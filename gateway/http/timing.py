"""Where a request's time went, as the Server-Timing header and as a member of the answer.

One list of names serves the header, the answer's body and the histograms, so the three cannot disagree. Durations are
shown in milliseconds with three decimals (W3C Server Timing 3). What a worker calls its steps is checked first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from gateway.dispatch.model import Timing

GATEWAY_STAGES = ("auth", "upload", "queue", "tunnel_out")
WORKER_STAGES = ("worker_queue", "decode", "preprocess", "batch_wait", "inference", "postprocess")
STAGES = (*GATEWAY_STAGES, *WORKER_STAGES, "tunnel_back", "total")
"""In the order in which they happen. `total` is the gateway's own: from the request's head to the answer's."""

MAX_WORKER_STAGES = 16
LONGEST_S = 1e9
"""Thirty years: a worker that says more, or infinity, which JSON does not know, is shown as 0."""
MAX_BATCH_SIZE = 256
"""What a worker says beyond that is no batch; it also bounds the label of a metric."""
MAX_KNOWN_ROWS = 256
"""Rows of names whose form is remembered: a worker's backend has one or two, and each is some 2 kB at most."""
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


class Stages(NamedTuple):
    """Durations in the order in which they happened. Two rows and not pairs: what the names alone decide is then looked
    up once for the row."""

    names: tuple[str, ...] = ()
    seconds: Sequence[float] = ()
    """As many as names."""


class Stopwatch:
    """Collects one request's durations, in seconds, as they become known."""

    __slots__ = ("auth_s", "batch_size", "exchange_stages", "started")

    def __init__(self, started: float) -> None:
        self.started = started
        """Monotonic seconds when the request's head had arrived."""
        self.auth_s: float | None = None
        self.exchange_stages = _NO_STAGES
        """The answering exchange's times; empty where there was none, or more than one."""
        self.batch_size: int | None = None
        """How many images the worker computed together with this one; None where it does not batch."""

    def stages(self, now: float) -> Stages:
        """Everything known so far, `total` last."""
        names, seconds = self.exchange_stages
        total_s = now - self.started
        if self.auth_s is None:
            return Stages((*names, "total"), (*seconds, total_s))
        return Stages(("auth", *names, "total"), (self.auth_s, *seconds, total_s))


def exchange_stages(timing: Timing) -> Stages:
    """One exchange's. A worker's steps are an untrusted mapping: names checked, number bounded."""
    steps = timing.worker_s
    names = _exchange_names(tuple(islice(steps, MAX_WORKER_STAGES)))
    at_worker_s = map(steps.__getitem__, names[_FIRST_STEP:-1])
    return Stages(names, (timing.upload_s, timing.queue_s, timing.tunnel_out_s, *at_worker_s, timing.tunnel_back_s))


def batch_size_of(result: Mapping[str, object]) -> int | None:
    """The batch that a worker says its image was in; None without one, or for what cannot be one."""
    size = result.get("batch_size")
    return size if type(size) is int and 1 <= size <= MAX_BATCH_SIZE else None


def server_timing(stages: Stages, batch_size: int | None = None) -> str:
    """The value of a Server-Timing header, such as `auth;dur=0.021, total;dur=8.250, batch;desc="4"`."""
    shown = _header_form(stages.names) % tuple([s * 1e3 if 0.0 < s < LONGEST_S else 0.0 for s in stages.seconds])
    return shown if batch_size is None else f'{shown}, batch;desc="{batch_size}"'


def timing_ms(stages: Stages) -> dict[str, float]:
    """The same as a JSON object of milliseconds."""
    # By way of whole microseconds: rounding to a number of decimals takes six times as long.
    shown = [round(s * 1e6) / 1e3 if 0.0 < s < LONGEST_S else 0.0 for s in stages.seconds]
    return dict(zip(stages.names, shown, strict=True))


@lru_cache(maxsize=MAX_KNOWN_ROWS)
def _exchange_names(steps: tuple[str, ...]) -> tuple[str, ...]:
    known = [name for name in steps if name in _WORKERS or (name not in _OURS and _STAGE_NAME.fullmatch(name))]
    return (*GATEWAY_STAGES[1:], *known, "tunnel_back")


@lru_cache(maxsize=MAX_KNOWN_ROWS)
def _header_form(names: tuple[str, ...]) -> str:
    return ", ".join([f"{name};dur=%.3f" for name in names])


_NO_STAGES = Stages()
_FIRST_STEP = len(GATEWAY_STAGES) - 1
_WORKERS = frozenset(WORKER_STAGES)
_OURS = frozenset(STAGES) - _WORKERS
