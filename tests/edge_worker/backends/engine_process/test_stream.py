"""Messages over a real socket pair: what arrives, and how each end hears of the other's."""

from __future__ import annotations

import asyncio
import socket

import pytest

from edge_worker.backends.engine_process.messages import Close, Message, Probe
from edge_worker.backends.engine_process.stream import open_stream

WAIT_S = 30.0
"""Ends a test that would hang; nothing waits that long."""
LARGE = bytes(4 << 20)
"""More than a socket holds."""


async def test_messages_arrive_whole_and_in_order() -> None:
    """Also one that takes many reads."""
    ours, theirs = socket.socketpair()
    arrived: asyncio.Queue[Message] = asyncio.Queue()
    near = await open_stream(ours, lambda message: None, lambda reason: None)
    far = await open_stream(theirs, arrived.put_nowait, lambda reason: None)
    for number, body in enumerate((b"", LARGE, b"small")):
        near.send(Message(Probe(number, "m"), body))
    async with asyncio.timeout(WAIT_S):
        got = [await arrived.get() for _ in range(3)]
    assert [message.head for message in got] == [Probe(number, "m") for number in range(3)]
    assert [bytes(message.body) for message in got] == [b"", LARGE, b"small"]
    near.close()
    far.close()


@pytest.mark.parametrize("unread", [b"", b"picture"])
async def test_an_end_that_closes_is_heard_of_once(unread: bytes) -> None:
    """With something unread the system calls it an error; it is the same end. What is sent later is dropped."""
    ours, theirs = socket.socketpair()
    ended: asyncio.Queue[str] = asyncio.Queue()
    near = await open_stream(ours, lambda message: None, ended.put_nowait)
    near.send(Message(Probe(1, "m"), unread))
    if not unread:
        theirs.recv(1000)
    theirs.close()
    async with asyncio.timeout(WAIT_S):
        assert await ended.get() == ""
    near.send(Message(Close()))
    near.close()
    assert ended.empty()


async def test_nonsense_is_an_end_with_its_reason() -> None:
    """And whoever listens hears of nothing behind it."""
    ours, theirs = socket.socketpair()
    heard: list[Message] = []
    ended: asyncio.Queue[str] = asyncio.Queue()
    await open_stream(ours, heard.append, ended.put_nowait)
    theirs.send(b"\x00\x00\x00\x02\x00\x00\x00\x00[]" * 2)
    async with asyncio.timeout(WAIT_S):
        assert "no JSON object of a known kind" in await ended.get()
    assert heard == []
    theirs.close()
