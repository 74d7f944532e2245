"""The server behind every peer, fed bytes as they may come."""

from __future__ import annotations

import pytest

from bench.peers.upstream import MAX_HEAD_BYTES, Upstream

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{"bytes":%d}'


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True


def fed(pieces: list[bytes]) -> Transport:
    """What it does with these, read one after the other."""
    one, transport = Upstream(), Transport()
    one.connection_made(transport)  # type: ignore[arg-type]
    for piece in pieces:
        buffer = one.get_buffer(-1)
        buffer[: len(piece)] = piece
        one.buffer_updated(len(piece))
    return transport


def request(length: int, name: str = "Content-Length") -> bytes:
    return f"POST / HTTP/1.1\r\nHost: a\r\n{name}: {length}\r\nX: y\r\n\r\n".encode() + b"z" * length


def answers(*lengths: int) -> bytes:
    return b"".join(ANSWER % (len(b'{"bytes":%d}' % length), length) for length in lengths)


@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
def test_requests_in_pieces_of_any_size(size: int) -> None:
    """Bodies of several lengths on one connection, however they are cut: one answer each, in order."""
    data = request(5) + request(0) + request(400, "content-length") + request(1)
    assert fed([data[at : at + size] for at in range(0, len(data), size)]).written == answers(5, 0, 400, 1)


def test_no_answer_before_the_last_byte() -> None:
    """The body is read whole."""
    data = request(100)
    assert fed([data[:-1]]).written == b""
    assert fed([data[:60], data[60:]]).written == answers(100)


@pytest.mark.parametrize("data", [b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", b"x" * MAX_HEAD_BYTES])
def test_what_it_cannot_read_ends_the_connection(data: bytes) -> None:
    """No length, or a head without an end."""
    transport = fed([data])
    assert transport.is_closed
    assert not transport.written
