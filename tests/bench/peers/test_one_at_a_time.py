"""The server that works on one request at a time, and nginx that is not there."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.peers.nginx import Front, nginx_over_servers
from bench.peers.one_at_a_time import OneAtATime
from edge_worker.backends.service_time import ServiceTime, parse_service_time


async def exchanged(request: bytes) -> bytes:
    """What it answers until it closes, or we do."""
    one = OneAtATime("server-1", ServiceTime())
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
    assert answer.count(b"Server-Timing: inference;dur=") == 2
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
    one = OneAtATime("server-1", parse_service_time("1s"))
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
        nginx_over_servers("nginx-that-is-not-there", [1], processes="1", certificate=tmp_path, private_key=tmp_path),
    ):
        raise AssertionError("it started")


def test_what_nginx_is_told(tmp_path: Path) -> None:
    """Neither a zone nor reuseport, as Debian's package leaves it, unless they are asked for."""
    plain = Front(tmp_path, 1, [2, 3], tmp_path, tmp_path).configuration()
    assert "zone" not in plain
    assert "reuseport" not in plain
    both = Front(tmp_path, 1, [2, 3], tmp_path, tmp_path, has_zone=True, has_reuseport=True).configuration()
    assert re.search(r"upstream servers {\s+zone servers 64k;\s+least_conn;\s+server 127.0.0.1:2;", both)
    assert "listen 127.0.0.1:1 ssl reuseport;" in both
