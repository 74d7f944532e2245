"""What is known of one HTTP request while it is answered: filled in by its handler, read by the envelope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web


@dataclass(slots=True)
class HttpCall:
    """One request."""

    request_id: str
    started: float
    """Monotonic seconds when its head had arrived."""
    model: str = ""
    received_bytes: int = 0
    stages_s: Sequence[tuple[str, float]] = ()
    """(step, seconds) of the one image; empty for a form."""


CALL = web.RequestKey("call", HttpCall)
