"""A limit on silence."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import DeadlineExceeded
from gateway.http.patience import Patience
from tests.support.memory_channel import run_jumping


def test_silence_ends_it() -> None:
    """After the limit, and not before."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(DeadlineExceeded, match="for 5 s"):
            async with Patience(5.0, loop.time).bounded():
                await asyncio.Event().wait()
        assert 5.0 <= loop.time() - began < 5.1

    run_jumping(main)


def test_what_flows_may_last() -> None:
    """However long, while something moves; another limit counts from when it is set."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        patience = Patience(5.0, loop.time)
        async with patience.bounded():
            for _ in range(100):
                await asyncio.sleep(4.0)
                patience.moved()
            patience.allow(50.0)
            await asyncio.sleep(49.0)

    run_jumping(main)


def test_a_shorter_limit_counts_at_once() -> None:
    """It does not wait for the longer one to be over."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        patience = Patience(3600.0, loop.time)

        async def impatient() -> None:
            async with patience.bounded():
                patience.allow(5.0)
                await asyncio.Event().wait()

        with pytest.raises(DeadlineExceeded, match="for 5 s"):
            await impatient()
        assert loop.time() - began < 5.1

    run_jumping(main)


def test_the_callers_own_time_out_is_his() -> None:
    """It is not taken for silence."""

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with Patience(5.0, asyncio.get_running_loop().time).bounded():
                raise TimeoutError

    run_jumping(main)
