"""A dialled WebSocket as a Channel: what is passed on, what ends it, and that closing it never hangs."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri
from websockets.utils import accept_key

from edge_worker.channel import MAX_PARTS, DialledChannel, FrameConnection
from tests.support.memory_channel import run_jumping
from tests.support.receiver import Told
from wire import SUBPROTOCOL
from wire.channel import ChannelClosed
from wire.errors import RemoteProtocolError
from wire.limits import MAX_MESSAGE_BYTES
from wire.websocket import header


class Connection(FrameConnection):
    """A connection whose closing may never end."""

    def __init__(self) -> None:
        super().__init__(ClientProtocol(parse_uri("wss://g/"), state=State.OPEN))
        self.wire = Wire()
        self.connection_made(self.wire)
        self.closed_with: tuple[int, str] | None = None
        self.is_stuck = False

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed_with = (code, reason)
        if self.is_stuck:
            await asyncio.get_running_loop().create_future()


class Wire(asyncio.Transport):
    """What was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.was_aborted = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written += data

    def writelines(self, list_of_data: Any) -> None:
        self.written += b"".join(list_of_data)

    def is_closing(self) -> bool:
        return self.was_aborted

    def close(self) -> None:
        self.was_aborted = True

    def abort(self) -> None:
        self.was_aborted = True


ANSWER = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: " + SUBPROTOCOL + "\r\n\r\n"
)


def upgraded(behind: bytes = b"") -> tuple[FrameConnection, Wire, Told]:
    """A connection that has read the answer to its upgrade, and what came behind it in the same piece."""
    protocol = ClientProtocol(
        parse_uri("wss://g/"), subprotocols=[Subprotocol(SUBPROTOCOL)], max_size=MAX_MESSAGE_BYTES
    )
    connection, wire, told = FrameConnection(protocol), Wire(), Told()
    connection.connection_made(wire)
    protocol.connect()
    answer = ANSWER.format(accept_key(protocol.key)).encode()
    connection.data_received(answer[:40])
    connection.data_received(answer[40:] + behind)
    return connection, wire, told


FRAMES = [header(5) + b"frame", b"\x02\x03two", b"\x80\x02-2", header(70_000) + bytes(70_000)]


@pytest.mark.parametrize("behind", [0, 1, 2, 4])
@pytest.mark.parametrize("piece", [1, 3, 1000, 1 << 20])
async def test_messages_are_passed_on_as_they_are_read(behind: int, piece: int) -> None:
    """Each message comes whole and in order, one in several frames too, with the upgrade's answer or after it."""
    connection, wire, told = upgraded(b"".join(FRAMES[:behind]))
    DialledChannel(connection).attach(told)
    rest = b"".join(FRAMES[behind:])
    for at in range(0, len(rest), piece):
        connection.data_received(rest[at : at + piece])
    assert [bytes(message) for message in told.messages] == [b"frame", b"two-2", bytes(70_000)]
    connection.data_received(b"\x89\x02hi")
    assert wire.written[:2] == b"\x8a\x82"  # a PONG, masked
    assert told.ends == []


async def test_what_only_looks_like_the_end_of_a_head_is_a_message() -> None:
    """Who has begun to read with the library goes on so, whatever a message contains."""
    connection, _, told = upgraded(FRAMES[0])
    DialledChannel(connection).attach(told)
    connection.data_received(header(8) + b"ab\r\n\r\n")
    connection.data_received(b"cd")
    assert [bytes(message) for message in told.messages] == [b"frame", b"ab\r\n\r\ncd"]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
async def test_a_message_is_one_masked_binary_frame(size: int) -> None:
    """As RFC 6455 5.3 asks of a client, with a new mask each time; a server's library reads it back."""
    connection, wire, _ = upgraded()
    server = ServerProtocol(state=State.OPEN)
    for message in (bytes(size), b"\x01" * size):
        assert DialledChannel(connection).send(message)
        server.receive_data(wire.written)
        wire.written = b""
        (frame,) = server.events_received()
        assert isinstance(frame, Frame)
        assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.BINARY, True, message)


async def test_a_full_transport_says_when_it_takes_more() -> None:
    """`send` says that it is full, and `room_made` follows."""
    connection, _, told = upgraded()
    near = DialledChannel(connection)
    near.attach(told)
    connection.pause_writing()
    assert not near.send(b"frame")
    assert told.rooms == 0
    connection.resume_writing()
    assert told.rooms == 1
    assert near.send(b"frame")


@pytest.mark.parametrize("strange", [b"\x81\x02hi", b"\x02\x00" + b"\x00\x00" * MAX_PARTS])
async def test_what_is_no_binary_message_breaks_the_protocol(strange: bytes) -> None:
    """Neither text nor a message in countless parts is a frame; before anybody listens the connection is cut."""
    connection, _, told = upgraded()
    DialledChannel(connection).attach(told)
    connection.data_received(strange)
    assert [type(end) for end in told.ends] == [RemoteProtocolError]
    connection, wire, _ = upgraded(strange)
    assert wire.was_aborted


async def test_a_message_that_is_too_long_ends_the_connection() -> None:
    """It is refused by its header, with the close code of RFC 6455 7.4.1."""
    connection, wire, told = upgraded()
    DialledChannel(connection).attach(told)
    connection.data_received(header(MAX_MESSAGE_BYTES + 1))
    assert connection.protocol.state is not State.OPEN
    assert wire.written[:1] == b"\x88"
    assert told.messages == []


@pytest.mark.parametrize(
    ("close", "text"),
    [
        (b"", "the connection was cut"),
        (
            b"\x88\x17" + struct.pack(">H", 4003) + b"the token was revoked",
            "the gateway closed with 4003 the token was revoked",
        ),
        (b"\x88\x02" + struct.pack(">H", 1001), "the gateway closed with 1001"),
    ],
)
@pytest.mark.parametrize("is_late", [False, True])
async def test_an_end_says_how(close: bytes, text: str, is_late: bool) -> None:
    """An end is told with the code and the reason, once, also to who attaches after it; and sending raises it."""
    connection, _, told = upgraded()
    near = DialledChannel(connection)
    if not is_late:
        near.attach(told)
    if close:
        connection.data_received(close)
    connection.connection_lost(None)
    if is_late:
        near.attach(told)
    (end,) = told.ends
    assert isinstance(end, ChannelClosed)
    assert str(end) == text
    with pytest.raises(ChannelClosed, match=text):
        near.send(b"x")


async def test_a_reason_is_cut_to_its_frame() -> None:
    """A close frame has room for 123 bytes of reason, whole characters."""
    connection = Connection()
    await DialledChannel(connection).close(4001, "ä" * 100)
    assert connection.closed_with == (4001, "ä" * 61)


def test_a_close_that_hangs_is_cut_off() -> None:
    """A gateway that reads nothing does not hold the worker up, and its connection is aborted."""

    async def main() -> None:
        connection = Connection()
        connection.is_stuck = True
        began = asyncio.get_running_loop().time()
        await DialledChannel(connection).close(4001, "bye")
        assert asyncio.get_running_loop().time() - began == pytest.approx(4.0)
        assert connection.wire.was_aborted

    run_jumping(main)
