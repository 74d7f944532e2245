"""A multipart/form-data reader without I/O: bytes in, parts out, at any split of the input.

It looks for the next boundary with one search per piece and never re-reads a line at a time. Refused: what is not
closed by the final boundary, headers over a bound, more parts than allowed (RFC 7578, RFC 2046 5.1.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from gateway.errors import BadRequest, PayloadTooLarge

MAX_PART_HEADER_BYTES = 8 * 1024
"""As much as the whole request's longest header; curl sends some 100 bytes."""
MAX_PREAMBLE_BYTES = 1024
"""Text before the first boundary, which nobody sends and RFC 2046 allows."""
MAX_NAME_CHARS = 255
"""The longest file name of common file systems."""

_BOUNDARY = re.compile(r"""boundary=(?:"([^"\\\r\n]{1,70})"|([^\s;"]{1,70}))""", re.IGNORECASE)
_PARAMETER = r"""(?:^|[;\s]){name}\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))"""
_FIELD = re.compile(_PARAMETER.format(name="name"), re.IGNORECASE)
_FILENAME = re.compile(_PARAMETER.format(name="filename"), re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PartBegan:
    """The head of a part. Empty strings for what it does not say."""

    field: str
    filename: str
    content_type: str


@dataclass(frozen=True, slots=True)
class PartEnded:
    """The boundary after a part was found."""


Event = PartBegan | bytes | PartEnded
"""`bytes` is a piece of the current part's content, never empty."""


class _State(Enum):
    PREAMBLE = auto()
    AFTER_BOUNDARY = auto()
    HEADERS = auto()
    CONTENT = auto()
    EPILOGUE = auto()


def boundary_of(content_type: str) -> bytes:
    """The boundary parameter. Raises BadRequest."""
    match = _BOUNDARY.search(content_type)
    boundary = (match.group(1) or match.group(2)) if match is not None else ""
    if not boundary.isascii() or not boundary:
        raise BadRequest("the Content-Type is multipart/form-data without a usable boundary parameter")
    return boundary.encode()


class MultipartParser:
    """`feed` what arrives and `finish` at its end; both raise BadRequest or PayloadTooLarge, after which it is over."""

    def __init__(self, boundary: bytes, max_parts: int) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._max_parts = max_parts
        self._part_count = 0
        self._state = _State.PREAMBLE
        # The very first boundary may stand at the start of the body: give it the line break the others have.
        self._buffer = b"\r\n"

    def feed(self, data: bytes) -> Iterator[Event]:
        """Everything that these bytes complete. To be iterated to its end before the next call."""
        self._buffer = self._buffer + data if self._buffer else data
        step = True
        while step:
            match self._state:
                case _State.PREAMBLE:
                    step = self._skip_preamble()
                case _State.AFTER_BOUNDARY:
                    step = self._read_boundary_end()
                case _State.HEADERS:
                    began = self._read_headers()
                    step = began is not None
                    if began is not None:
                        yield began
                case _State.CONTENT:
                    content, step = self._read_content()
                    if content:
                        yield content
                    if step:
                        yield PartEnded()
                case _State.EPILOGUE:
                    self._buffer = b""
                    step = False

    def finish(self) -> None:
        """The body is over. Raises BadRequest if its last part is not."""
        if self._state is not _State.EPILOGUE:
            raise BadRequest("the multipart body ends before its last boundary")

    def _skip_preamble(self) -> bool:
        found = self._buffer.find(self._delimiter)
        if found < 0:
            if len(self._buffer) > MAX_PREAMBLE_BYTES:
                raise BadRequest("the multipart body does not begin with the boundary that its Content-Type names")
            return False
        self._buffer = self._buffer[found + len(self._delimiter) :]
        self._state = _State.AFTER_BOUNDARY
        return True

    def _read_boundary_end(self) -> bool:
        if self._buffer.startswith(b"--"):
            self._state = _State.EPILOGUE
            return True
        line_end = self._buffer.find(b"\r\n")
        if line_end < 0:
            if len(self._buffer) > MAX_PREAMBLE_BYTES:
                raise BadRequest("a boundary of the multipart body is not followed by a line break")
            return False
        if self._buffer[:line_end].strip(b" \t"):
            raise BadRequest("a boundary of the multipart body is followed by something else than a line break")
        self._part_count += 1
        if self._part_count > self._max_parts:
            raise PayloadTooLarge(f"more than {self._max_parts} files in one request (limits.max_parts)")
        # The line break stays: a part without headers is then two of them in a row like any other.
        self._buffer = self._buffer[line_end:]
        self._state = _State.HEADERS
        return True

    def _read_headers(self) -> PartBegan | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end > MAX_PART_HEADER_BYTES or (end < 0 and len(self._buffer) > MAX_PART_HEADER_BYTES):
            raise BadRequest(f"the headers of part {self._part_count} are over {MAX_PART_HEADER_BYTES} bytes")
        if end < 0:
            return None
        began = _began(self._buffer[2:end])
        # An empty part's boundary begins with the line break that ends the headers' last, empty line.
        self._buffer = self._buffer[end + 2 :]
        self._state = _State.CONTENT
        self._skip_line_break = True
        return began

    def _read_content(self) -> tuple[bytes, bool]:
        """(content, whether the part is over)."""
        buffer, start = self._buffer, 2 if self._skip_line_break else 0
        found = buffer.find(self._delimiter)
        if found >= 0:
            self._buffer = buffer[found + len(self._delimiter) :]
            self._state = _State.AFTER_BOUNDARY
            return buffer[start:found], True
        # What could be the beginning of a boundary waits for more.
        safe = max(start, len(buffer) - len(self._delimiter) + 1)
        if safe > start:
            self._skip_line_break = False
            self._buffer = buffer[safe:]
            return buffer[start:safe], False
        return b"", False


def _began(block: bytes) -> PartBegan:
    """The two headers that matter, from bytes that may be anything: names are UTF-8 where they can be."""
    disposition = content_type = ""
    for line in block.split(b"\r\n"):
        name, _, value = line.decode("utf-8", "replace").partition(":")
        match name.strip().lower():
            case "content-disposition":
                disposition = value.strip()
            case "content-type":
                content_type = value.strip().lower()
    return PartBegan(_parameter(_FIELD, disposition), _parameter(_FILENAME, disposition), content_type[:MAX_NAME_CHARS])


def _parameter(pattern: re.Pattern[str], disposition: str) -> str:
    match = pattern.search(disposition)
    if match is None:
        return ""
    quoted, bare = match.groups()
    value = bare if quoted is None else quoted.replace('\\"', '"').replace("\\\\", "\\")
    return value[:MAX_NAME_CHARS]
