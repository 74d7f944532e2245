"""Where a request's time went, as the Server-Timing header and as a member of the answer.

One list of names serves the header, the answer's body and the histograms, so the three cannot disagree. Durations are
shown in milliseconds with three decimals (W3C Server Timing 3). What a worker calls its steps is checked first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from gateway.dispatch.model import Timing

GATEWAY_STAGES = ("auth", "upload", "queue", "tunnel_out")
WORKER_STAGES = ("worker_queue", "decode", "preprocess", "batch_wait", "inference", "postprocess")
STAGES = (*GATEWAY_STAGES, *WORKER_STAGES, "tunnel_back", "total")
"""In the order in which they happen. `total` is the gateway's own: from the request's head to the answer's."""

MAX_WORKER_STAGES = 16
MAX_BATCH_SIZE = 256
"""What a worker says beyond that is no batch; it also bounds the label of a metric."""
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


class Stopwatch:
    """Collects one request's durations, in seconds, as they become known."""

    __slots__ = ("auth_s", "batch_size", "exchange_stages", "started")

    def __init__(self, started: float) -> None:
        self.started = started
        """Monotonic seconds when the request's head had arrived."""
        self.auth_s: float | None = None
        self.exchange_stages: Sequence[tuple[str, float]] = ()
        """The answering exchange's times; empty where there was none, or more than one."""
        self.batch_size: int | None = None
        """How many images the worker computed together with this one; None where it does not batch."""

    def stages(self, now: float) -> list[tuple[str, float]]:
        """(name, seconds) of everything known so far, `total` last."""
        first = () if self.auth_s is None else (("auth", self.auth_s),)
        return [*first, *self.exchange_stages, ("total", now - self.started)]


def exchange_stages(timing: Timing) -> list[tuple[str, float]]:
    """(name, seconds) of one exchange. A worker's steps are an untrusted mapping: names checked, number bounded."""
    steps = islice(timing.worker_s.items(), MAX_WORKER_STAGES)
    return [
        ("upload", timing.upload_s),
        ("queue", timing.queue_s),
        ("tunnel_out", timing.tunnel_out_s),
        *[step for step in steps if step[0] in _WORKERS or (step[0] not in _OURS and _STAGE_NAME.fullmatch(step[0]))],
        ("tunnel_back", timing.tunnel_back_s),
    ]


def batch_size_of(result: Mapping[str, object]) -> int | None:
    """The batch that a worker says its image was in; None without one, or for what cannot be one."""
    size = result.get("batch_size")
    return size if type(size) is int and 1 <= size <= MAX_BATCH_SIZE else None


def server_timing(stages: Iterable[tuple[str, float]], batch_size: int | None = None) -> str:
    """The value of a Server-Timing header, such as `auth;dur=0.021, total;dur=8.250, batch;desc="4"`."""
    entries = [f"{name};dur={seconds * 1e3 if seconds > 0.0 else 0.0:.3f}" for name, seconds in stages]
    return ", ".join(entries if batch_size is None else [*entries, f'batch;desc="{batch_size}"'])


def timing_ms(stages: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The same as a JSON object of milliseconds."""
    return {name: round(seconds * 1e3, 3) if seconds > 0.0 else 0.0 for name, seconds in stages}


_WORKERS = frozenset(WORKER_STAGES)
_OURS = frozenset(STAGES) - _WORKERS
