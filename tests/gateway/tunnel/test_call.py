"""The receiving half of an exchange: one task waits, the link's events fill it in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.tunnel.call import Call
from tests.support.fake_clock import settle
from wire.frames import Buffer, ResponseHead

HEAD = ResponseHead(200)


class Broken(Exception):
    pass


def new_call(consumed: list[int] | None = None) -> Call:
    return Call((consumed if consumed is not None else []).append, 10.0)


async def collect(body: AsyncIterator[Buffer]) -> bytes:
    return b"".join([chunk async for chunk in body])


async def test_the_head_is_waited_for() -> None:
    """`wait_head` returns the head, whether it came before or after."""
    call = new_call()
    waiting = asyncio.create_task(call.wait_head())
    await settle()
    assert not waiting.done()
    call.got_head(HEAD)
    assert await waiting is HEAD
    assert await call.wait_head() is HEAD


async def test_the_body_is_given_as_it_comes() -> None:
    """Each chunk is there before the next has come, and counts as consumed when the next one is asked for."""
    consumed: list[int] = []
    call = new_call(consumed)
    body = aiter(call)
    call.got_body(memoryview(b"one"))
    assert await anext(body) == b"one"
    assert consumed == []
    waiting = asyncio.ensure_future(anext(body))
    await settle()
    assert consumed == [3]
    call.got_body(b"three")
    assert await waiting == b"three"
    call.got_end()
    with pytest.raises(StopAsyncIteration):
        await anext(body)
    assert consumed == [3, 5]


async def test_a_body_may_be_empty() -> None:
    """An answer without a body ends at once."""
    call = new_call()
    call.got_head(HEAD)
    call.got_end()
    assert await collect(call) == b""


async def test_a_failure_reaches_whoever_waits() -> None:
    """A failure before the head is raised by `wait_head`, one after it by the body, behind what had come."""
    call = new_call()
    waiting = asyncio.create_task(call.wait_head())
    await settle()
    call.fail(Broken("first"))
    call.fail(Broken("second"))
    with pytest.raises(Broken, match="first"):
        await waiting
    other = new_call()
    other.got_head(HEAD)
    other.got_body(b"half")
    other.fail(Broken())
    body = aiter(other)
    assert await anext(body) == b"half"
    with pytest.raises(Broken):
        await anext(body)


async def test_a_whole_answer_cannot_fail_any_more() -> None:
    """What goes wrong after the end, such as a lost tunnel, does not spoil an answer that is here."""
    call = new_call()
    call.got_head(HEAD)
    call.got_body(b"whole")
    call.got_end()
    call.fail(Broken())
    assert await collect(call) == b"whole"


@pytest.mark.parametrize("end", ["got_room", "got_end", "fail"])
async def test_waiting_for_room_ends(end: str) -> None:
    """The sender goes on when there is room, when the answer is whole and when there will be none."""
    call = new_call()
    waiting = asyncio.create_task(call.wait_room())
    await settle()
    assert not waiting.done()
    call.fail(Broken()) if end == "fail" else getattr(call, end)()
    await waiting


async def test_nobody_waits_for_room_after_the_end() -> None:
    """Once the answer is whole or lost, `wait_room` returns at once."""
    ended, failed = new_call(), new_call()
    ended.got_end()
    failed.fail(Broken())
    await ended.wait_room()
    await failed.wait_room()


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    """Whoever stops waiting does not disturb what comes later."""
    call = new_call()
    for wait in (call.wait_head(), call.wait_room()):
        task = asyncio.ensure_future(wait)
        await settle()
        task.cancel()
        await asyncio.wait([task])
    call.got_room()
    call.got_head(HEAD)
    call.got_end()
    assert await call.wait_head() is HEAD
