"""Work that ends when a test says so."""

from __future__ import annotations

import asyncio
import threading

WAIT_S = 30.0
"""Ends a test that would hang; nothing waits that long."""


class Held:
    """For a thread that is not the test's."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.end = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.end.wait(WAIT_S)
        return "held"

    async def wait_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, WAIT_S)
