"""What can be classified, as bytes to send: a file, the bytes of one, or an array of pixels.

Files are sent as they are: the worker decodes them, within bounds of its own. An array becomes a PNG here, which keeps
every pixel and needs nothing but zlib.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gateway.client.errors import error_of

CONTENT_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
"""By suffix; also what counts as a picture in a folder."""
ANY_BYTES = "application/octet-stream"
"""The worker looks at the bytes."""


class Pixels(Protocol):
    """A NumPy array, or what looks like one: [height, width, 3], RGB, uint8."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of its dimensions."""

    @property
    def dtype(self) -> object:
        """Its elements' type; `str` of it is its name."""

    def tobytes(self) -> bytes:
        """Its elements row by row."""


Source = str | os.PathLike[str] | bytes | bytearray | memoryview | Pixels
"""A path, the bytes of an image file, or pixels."""


@dataclass(frozen=True)
class Picture:
    """One body to send."""

    name: str
    content_type: str
    body: bytes = field(repr=False)


def name_of(source: Source, place: int = 0) -> str:
    """A path as it was given; for what has none its place, from 0."""
    return os.fspath(source) if isinstance(source, str | os.PathLike) else str(place)


def read_picture(source: Source, place: int = 0) -> Picture:
    """Reads the file or encodes the array, and waits for it. Raises BadPicture; TypeError for what is none of these."""
    name = name_of(source, place)
    if isinstance(source, bytes | bytearray | memoryview):
        return Picture(name, ANY_BYTES, bytes(source))
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        try:
            if path.is_char_device():
                raise error_of("unreadable", "a device, which may never end")
            return Picture(name, CONTENT_TYPES.get(path.suffix.lower(), ANY_BYTES), path.read_bytes())
        except (OSError, ValueError) as error:
            raise error_of("unreadable", getattr(error, "strerror", None) or str(error)) from error
    if not all(hasattr(source, member) for member in ("shape", "dtype", "tobytes")):
        raise TypeError(f"a path, bytes or an array of pixels is classified, not {type(source).__name__}")
    return Picture(name, "image/png", png_of(source))


def png_of(pixels: Pixels) -> bytes:
    """A PNG (ISO/IEC 15948) of [height, width, 3] RGB uint8. Raises BadPicture for any other array."""
    shape = tuple(pixels.shape)
    if len(shape) != 3 or shape[2] != 3 or 0 in shape or str(pixels.dtype) != "uint8":
        told = f"an array of {pixels.dtype} {list(shape)}: it must be uint8 [height, width, 3] in RGB"
        raise error_of("bad_input", told)
    height, width, _ = shape
    flat, stride = pixels.tobytes(), width * 3
    rows = b"".join(b"\0" + flat[start : start + stride] for start in range(0, len(flat), stride))  # 0: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, truecolour, no interlace
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows, 1)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
