"""What a WebSocket puts around a message: written as RFC 6455 has it, and cut apart wherever the stream was cut."""

from __future__ import annotations

import random
import struct

import pytest

from wire.limits import MAX_MESSAGE_BYTES
from wire.websocket import MASKED, FrameSplitter, header

PING = b"\x89\x02hi"
TEXT = b"\x81\x02hi"
PART, LAST = b"\x02\x01a", b"\x80\x01b"


def frame(size: int) -> bytes:
    return header(size) + bytes(index % 251 for index in range(size))


def fed(pieces: list[bytes]) -> list[tuple[str, bytes]]:
    """What a splitter makes of a stream in these pieces."""
    seen: list[tuple[str, bytes]] = []
    splitter = FrameSplitter(lambda m: seen.append(("message", bytes(m))), lambda f: seen.append(("other", f)))
    for piece in pieces:
        splitter.feed(piece)
    return seen


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, MAX_MESSAGE_BYTES])
@pytest.mark.parametrize("masked", [0, MASKED])
def test_a_header_says_the_length_in_the_fewest_bytes(size: int, masked: int) -> None:
    """7, 16 or 64 bits of it (RFC 6455 5.2); a mask is announced in the same byte."""
    first, second, *length = header(size, masked)
    assert first == 0x82
    assert second & MASKED == masked
    if size < 126:
        assert (second & 127, length) == (size, [])
    else:
        width = 2 if size < 65_536 else 8
        assert second & 127 == (126 if width == 2 else 127)
        assert int.from_bytes(bytes(length), "big") == size
        assert len(length) == width


def test_frames_are_cut_apart_wherever_the_stream_is() -> None:
    """Messages of every size and other frames between them come whole and in order, in pieces of any length."""
    sizes = [0, 1, 125, 126, 4096, 65_535, 65_536, 100_000, 3]
    stream = b"".join(
        frame(size) + other for size, other in zip(sizes, [PING, TEXT, PART, LAST, PING] * 2, strict=False)
    )
    whole = fed([stream])
    assert [len(data) for kind, data in whole if kind == "message"] == sizes
    assert [data for kind, data in whole if kind == "other"] == [PING, TEXT, PART, LAST, PING, PING, TEXT, PART, LAST]
    assert all(data == frame(len(data))[-len(data) :] for kind, data in whole if kind == "message" and data)
    generator = random.Random(7)
    for most in (1, 2, 7, 1000, 40_000, 200_000):
        pieces, at = [], 0
        while at < len(stream):
            size = generator.randint(1, most)
            pieces.append(stream[at : at + size])
            at += size
        assert fed(pieces) == whole


@pytest.mark.parametrize(
    "strange",
    [
        b"\x82\x81aaaab",
        b"\x82\xfe" + bytes(6),
        b"\x82\x7f" + struct.pack(">Q", MAX_MESSAGE_BYTES + 1),
        b"\x82\x7f" + b"\xff" * 8,
    ],
)
def test_from_what_no_server_may_send_on_all_is_the_other_s(strange: bytes) -> None:
    """A masked frame, or one that is too long, is judged by who knows: nothing behind it is read as a message."""
    assert fed([frame(3) + strange + frame(3), frame(5)]) == [
        ("message", frame(3)[2:]),
        ("other", strange + frame(3)),
        ("other", frame(5)),
    ]


def test_a_message_of_the_largest_size_is_none_too_long() -> None:
    """The bound is the protocol's own."""
    ((kind, data),) = fed([frame(MAX_MESSAGE_BYTES)])
    assert (kind, len(data)) == ("message", MAX_MESSAGE_BYTES)
