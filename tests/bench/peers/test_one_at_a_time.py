"""The server that works on one request at a time, and nginx that is not there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.peers.nginx import nginx_over_servers
from bench.peers.one_at_a_time import OneAtATime


async def exchanged(request: bytes) -> bytes:
    """What it answers until it closes, or we do."""
    one = OneAtATime("server-1", 0.0)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(request)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


async def test_two_requests_on_one_connection() -> None:
    """Both bodies are read, and both are answered, in order, with its name."""
    request = b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 3\r\n\r\nabc"
    answer = await exchanged(request + request)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert answer.endswith(b'{"worker": "server-1"}')


@pytest.mark.parametrize("head", [b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", b"no HTTP at all"])
async def test_what_it_cannot_read_ends_the_connection(head: bytes) -> None:
    """A body without a length, or no HTTP: no answer."""
    assert await exchanged(head) == b""


async def test_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three requests at once, never two are worked on together."""
    working = most = 0

    async def work(_seconds: float) -> None:
        nonlocal working, most
        working += 1
        most = max(most, working)
        for _ in range(5):
            await turn(0)
        working -= 1

    turn = asyncio.sleep
    monkeypatch.setattr("bench.peers.one_at_a_time.asyncio.sleep", work)
    one = OneAtATime("server-1", 1.0)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    async with server:
        ends = [await asyncio.open_connection(*server.sockets[0].getsockname()) for _ in range(3)]
        for _, writer in ends:
            writer.write(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
            writer.write_eof()
        for reader, writer in ends:
            assert b"200 OK" in await reader.read()
            writer.close()
            await writer.wait_closed()
    assert most == 1


def test_a_machine_without_nginx(tmp_path: Path) -> None:
    """It says what to install, and starts nothing."""
    with (
        pytest.raises(BenchError, match="there is no nginx-that-is-not-there: install nginx"),
        nginx_over_servers(
            "nginx-that-is-not-there", 1, 1.0, processes="1", certificate=tmp_path, private_key=tmp_path
        ),
    ):
        raise AssertionError("it started")
