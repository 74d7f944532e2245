"""The bytes that a WebSocket puts around a message (RFC 6455 5.2), as far as a tunnel's own messages need them.

A message of ours is one frame: whole, binary, with no extension. Both ends write its header here, and the worker cuts
what a gateway sends into frames. All others (a handshake's end, pings, a stranger's mistakes) are left to the libraries
that know them. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from .frames import Buffer
from .limits import KIB, MAX_MESSAGE_BYTES

JOINED_BYTES = 16 * KIB
"""Up to a TLS record's size (RFC 8446 5.1) it is cheaper to copy a message behind its header than to write twice."""

MASKED: Final = 0x80
"""In the length's byte: a mask of MASK_BYTES follows the header, as in all that a client sends (RFC 6455 5.3)."""

MASK_BYTES = 4

_WHOLE_BINARY: Final = 0x82  # FIN, and the opcode of a binary message
_U16, _U64 = struct.Struct(">H"), struct.Struct(">Q")
_LENGTH_7, _LENGTH_16, _LENGTH_64 = struct.Struct(">BB"), struct.Struct(">BBH"), struct.Struct(">BBQ")


def header(size: int, masked: int = 0) -> bytes:
    """What goes before a message of `size` bytes; `masked` is 0 or MASKED."""
    if size < 126:
        return _LENGTH_7.pack(_WHOLE_BINARY, masked | size)
    if size < 1 << 16:
        return _LENGTH_16.pack(_WHOLE_BINARY, masked | 126, size)
    return _LENGTH_64.pack(_WHOLE_BINARY, masked | 127, size)


class FrameSplitter:
    """Cuts a server's stream into frames: a whole message goes to one, any other frame, with its header, to the other.
    What cannot be told apart any more (a masked frame, one that is too long) goes to the other from there on."""

    __slots__ = ("_is_lost", "_missing_bytes", "_on_message", "_on_other", "_parts")

    def __init__(self, on_message: Callable[[Buffer], None], on_other: Callable[[bytes], None]) -> None:
        self._on_message = on_message
        self._on_other = on_other
        self._parts: list[bytes] = []  # of one frame, bounded by MAX_MESSAGE_BYTES
        self._missing_bytes = 0  # of that frame, as far as its header says
        self._is_lost = False

    def feed(self, data: bytes) -> None:
        """What was read. A message that is most of it is passed on as a view, not a copy."""
        if self._parts:
            self._parts.append(data)
            self._missing_bytes -= len(data)
            if self._missing_bytes > 0:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        at, end = 0, len(data)
        while at < end:
            begin, stop = self._payload(data, at, end)
            if stop > end:
                self._parts.append(data[at:])
                self._missing_bytes = stop - end
                return
            if data[at] != _WHOLE_BINARY or self._is_lost:
                self._on_other(data[at:stop])
            elif (stop - begin) * 2 > end > JOINED_BYTES:
                self._on_message(memoryview(data)[begin:stop])
            else:
                self._on_message(data[begin:stop])
            at = stop

    def _payload(self, data: bytes, at: int, end: int) -> tuple[int, int]:
        """Where the payload of the frame at `at` begins and stops: beyond `end` while some of it is missing."""
        if self._is_lost:
            return at, end
        begin = at + 2
        if begin > end:
            return begin, begin
        size = data[at + 1]
        if size in (126, 127):
            length = _U16 if size == 126 else _U64
            begin += length.size
            if begin > end:
                return begin, begin
            (size,) = length.unpack_from(data, at + 2)
        elif size > 127:  # masked
            size = MAX_MESSAGE_BYTES + 1
        if size > MAX_MESSAGE_BYTES:
            self._is_lost = True
            return begin, end
        return begin, begin + size
