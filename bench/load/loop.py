"""The event loop of a run: uvloop's where there is one, which takes a third less time for a request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


def run_loop(coroutine: Coroutine[object, object, T]) -> T:
    """Runs it to its end, as `asyncio.run` does."""
    with contextlib.closing(coroutine):  # Ctrl-C may come before it begins
        try:
            import uvloop
        except ImportError:
            return asyncio.run(coroutine)
        return uvloop.run(coroutine)
