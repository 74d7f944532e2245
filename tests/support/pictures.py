"""Image files made by hand, byte by byte, so that a test knows what is in them without trusting an encoder.

The picture is always the same where it can be: WIDTH x HEIGHT, LEFT colour in its left half, RIGHT in its right half,
and a white CORNER at the top left, so that every turn and every swapped channel shows.
"""

from __future__ import annotations

import base64
import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 48, 32
LEFT, RIGHT, CORNER = (200, 50, 20), (10, 180, 90), 8


def picture() -> NDArray[np.uint8]:
    """[HEIGHT, WIDTH, 3] RGB."""
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:, : WIDTH // 2], pixels[:, WIDTH // 2 :] = LEFT, RIGHT
    pixels[:CORNER, :CORNER] = 255
    return pixels


def encoded(extension: str, pixels: NDArray[np.generic] | None = None, *options: int) -> bytes:
    """A file as OpenCV writes it, from RGB or grey pixels."""
    pixels = picture() if pixels is None else pixels
    if pixels.ndim == 3:
        pixels = pixels[..., ::-1] if pixels.shape[2] == 3 else pixels[..., [2, 1, 0, 3]]
    done, file = cv2.imencode(extension, np.ascontiguousarray(pixels), list(options))
    assert done
    return file.tobytes()


def every_format() -> dict[str, bytes]:
    """The same picture in every format that is taken. GIF has few colours and JPEG blurs; the rest is exact."""
    exact_webp = (cv2.IMWRITE_WEBP_QUALITY, 101)
    files = {name: encoded(f".{name}") for name in ("jpg", "png", "bmp", "tiff", "gif")}
    return {**files, "webp": encoded(".webp", None, *exact_webp), "webp-lossy": encoded(".webp", None, 64, 90)}


def exif(orientation: int, order: str = "<") -> bytes:
    """An EXIF block, which is a TIFF of one tag."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(f"{order}HH", orientation, 0)
    return mark + struct.pack(f"{order}IHHHI", 8, 1, 0x0112, 3, 1) + value + bytes(4)


def with_jpeg_segment(jpeg: bytes, marker: int, content: bytes) -> bytes:
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + jpeg[2:]


def jpeg_turned(orientation: int, order: str = "<") -> bytes:
    """The picture, stored so that `orientation` makes it upright."""
    stored = encoded(".jpg", stored_for(picture(), orientation), cv2.IMWRITE_JPEG_QUALITY, 95)
    return with_jpeg_segment(stored, 0xE1, b"Exif\0\0" + exif(orientation, order))


def stored_for(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """How an upright picture lies in a file of this orientation: the words of Exif 2.32, 4.6.4, one by one.

    They say where row 0 and column 0 of the file are to be seen.
    """
    match orientation:
        case 1:  # top, left
            return pixels
        case 2:  # top, right
            return np.fliplr(pixels)
        case 3:  # bottom, right
            return np.rot90(pixels, 2)
        case 4:  # bottom, left
            return np.flipud(pixels)
        case 5:  # left, top
            return np.transpose(pixels, (1, 0, 2))
        case 6:  # right, top: turned a quarter to the left in the file
            return np.rot90(pixels, 1)
        case 7:  # right, bottom
            return np.rot90(np.transpose(pixels, (1, 0, 2)), 2)
        case _:  # left, bottom: turned a quarter to the right in the file
            return np.rot90(pixels, -1)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int, colour_type: int, row: bytes, *chunks: bytes) -> bytes:
    """A PNG of `height` equal rows; `chunks` go before the pixels."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    pixels = png_chunk(b"IDAT", zlib.compress((b"\0" + row) * height))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + b"".join(chunks) + pixels + png_chunk(b"IEND", b"")


def tiff(pixels: NDArray[np.generic], photometric: int, *tags: tuple[int, int, int]) -> bytes:
    """An uncompressed TIFF of one strip; `tags` are (tag, type, value) on top of what the pixels say."""
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    data = pixels.tobytes() + bytes(pixels.nbytes % 2)
    bits = struct.pack(f"<{max(samples, 2)}H", *[pixels.itemsize * 8] * max(samples, 2))
    bits_at = 8 + len(data)
    size_of_bits = (258, 3, 1, pixels.itemsize * 8) if samples == 1 else (258, 3, samples, bits_at)
    if samples == 2:
        size_of_bits = (258, 3, 2, pixels.itemsize * 8 * 0x10001)
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        size_of_bits,
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, 8),
        (277, 3, 1, samples),
        (278, 4, 1, height),
        (279, 4, 1, pixels.nbytes),
        *((tag, kind, 1, value) for tag, kind, value in tags),
    ]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    at = bits_at + len(bits)
    return b"II*\0" + struct.pack("<I", at) + data + bits + struct.pack("<H", len(entries)) + directory + bytes(4)


def gif(frames: list[int], transparent: int | None = None) -> bytes:
    """An animated GIF: each frame is full of one colour of the palette red, green, blue, black."""
    palette = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255]) + bytes(3 * 125)
    file = b"GIF89a" + struct.pack("<HHBBB", WIDTH, HEIGHT, 0x86, 0, 0) + palette
    for colour in frames:
        if transparent is not None:
            file += b"\x21\xf9\x04" + struct.pack("<BHB", 1, 0, transparent) + b"\0"
        file += b"," + struct.pack("<HHHHB", 0, 0, WIDTH, HEIGHT, 0) + b"\x07"
        codes = b"".join(b"\x80" + bytes([colour]) * 96 for _ in range(WIDTH * HEIGHT // 96)) + b"\x81"
        file += b"".join(bytes([len(part)]) + part for part in _parts(codes, 255)) + b"\0"
    return file + b";"


def _parts(content: bytes, size: int) -> list[bytes]:
    return [content[i : i + size] for i in range(0, len(content), size)]


def cmyk_jpeg() -> bytes:
    """The two halves without the corner, 48x32, in four colours, inverted as Adobe writes them."""
    return base64.b64decode(_CMYK_JPEG)


def ycck_jpeg() -> bytes:
    """The same, its first three colours turned into YCbCr (Adobe transform 2)."""
    return base64.b64decode(_YCCK_JPEG)


_CMYK_JPEG = (
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwACAQEBAQECAQEBAgICAgIEAwICAgIFBAQDBAYFBgYGBQYGBgcJCAYHCQcGBggLCAkKCgoKCgYICwwLCgwJ"
    "CgoK/8AAFAgAIAAwBEMRAE0RAFkRAEsRAP/EABYAAQEBAAAAAAAAAAAAAAAAAAAKCf/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAOBEMATQBZAEsA"
    "AD8A20Z1sX2rgAAIe1NDUwAABcImXZZgAAIe1NDUwAABcImXZZgAAIe1NDUwAABcImXZZgAAIe1NDUwAAB//2Q=="
)
_YCCK_JPEG = (
    "/9j/7gAOQWRvYmUAZAAAAAAC/9sAQwACAQEBAQECAQEBAgICAgIEAwICAgIFBAQDBAYFBgYGBQYGBgcJCAYHCQcGBggLCAkKCgoKCgYICwwLCgwJ"
    "CgoK/8AAFAgAIAAwBEMRAE0RAFkRAEsRAP/EABgAAQADAQAAAAAAAAAAAAAAAAAHCAoJ/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAA4EQwBNAFkA"
    "SwAAPwCSFvHI91cAABX9B7W4AAAsAnBkjAAAV/Qe1uAAALAJwZIwAAFf0HtbgAACwCcGSMAABX9B7W4AAA//2Q=="
)
