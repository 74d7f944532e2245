"""Reads what an image file says of itself before anything is decoded: its format, size, orientation, and whether it
is whole.

Untrusted bytes: every loop has a bound, every offset is checked, nothing is allocated by a number from the file. It
decodes no pixel and imports nothing but the standard library. Any bytes give an ImageHeader or one BadInput.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge_worker.backends.base import BadInput

FORMATS = ("JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF")

MAX_SIDE_PX = 65_535
"""What JPEG and GIF can say at all; OpenCV refuses more than 2^20."""
MAX_PARTS = 100_000
"""Segments, chunks or directory entries walked. A 64 MB PNG in 8 kB chunks has 8,000."""
MAX_SUB_BLOCKS = 400_000
"""GIF sub-blocks of the first frame, up to 255 bytes each: 100 MB."""
MAX_SCANS = 100
"""Scans of a progressive JPEG: encoders write about ten; thousands keep a decoder busy for minutes with few bytes."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Sizes are in pixels as stored, before `orientation` is applied."""

    format: str
    width: int
    height: int
    orientation: int = 1
    """EXIF 1 to 8; 1 is upright (Exif 2.32, 4.6.4 tag 0x0112)."""
    extra_sample: int = 0
    """TIFF: the sample after the colours. 0 is unspecified, 1 premultiplied alpha, 2 plain alpha (TIFF 6.0 page 31)."""
    white_is_zero: bool = False
    """TIFF: grey in which 0 is white."""
    block_pixels: int = 0
    """TIFF: pixels of one tile or strip, which a decoder allocates whole."""
    first_frame_bytes: int = 0
    """GIF: how much of the file its first picture ends in; 0 for other formats."""


def read_header(body: bytes | memoryview, max_pixels: int) -> ImageHeader:
    """What the file says. Raises BadInput: bad_input for not an image or a truncated one, payload_too_large for one
    over `max_pixels`."""
    view = memoryview(body)
    read = next((reader for is_format, reader in _READERS if is_format(view)), None)
    if read is None:
        raise _not_an_image(view)
    try:
        header = read(view)
    except (struct.error, IndexError) as error:
        raise BadInput("bad_input", "the image is truncated: it ends inside its header") from error
    return _bounded(header, max_pixels)


def _not_an_image(view: memoryview) -> BadInput:
    if not len(view):
        return BadInput("bad_input", "the body is empty; an image is needed")
    start = bytes(view[:8]).hex(" ")
    return BadInput("bad_input", f"the body is not an image: it begins with {start}; taken are {', '.join(FORMATS)}")


def _bounded(header: ImageHeader, max_pixels: int) -> ImageHeader:
    width, height = header.width, header.height
    if width < 1 or height < 1:
        raise BadInput("bad_input", f"the {header.format} header says {width}x{height} pixels")
    limit = f"at most {max_pixels} pixels and {MAX_SIDE_PX} a side are taken"
    if width > MAX_SIDE_PX or height > MAX_SIDE_PX or width * height > max_pixels:
        raise BadInput("payload_too_large", f"the {header.format} is {width}x{height} pixels; {limit}")
    if header.block_pixels > max_pixels:
        raise BadInput("payload_too_large", f"the {header.format} has blocks of {header.block_pixels} pixels; {limit}")
    return header


def _truncated(kind: str, where: str) -> BadInput:
    return BadInput("bad_input", f"the {kind} is truncated: {where}")


# --- JPEG (ITU T.81 annex B) ---------------------------------------------------------------------------------------

_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)
# Finds the next marker from anywhere: in the entropy-coded data FF is followed by 00 (stuffing) or D0 to D7
# (restarts), and FF FF is fill. One search in C, linear in the bytes.


def _read_jpeg(view: memoryview) -> ImageHeader:
    width, height, orientation, scans = 0, 0, 1, 0
    position = 2
    for _ in range(MAX_PARTS):
        match = _MARKER.search(view, position)
        if match is None:
            raise _truncated("JPEG", "it has no end-of-image marker")
        marker, position = match[1][0], match.end()
        if marker == 0xD9:  # EOI; what follows it belongs to no one
            break
        if marker in (0x01, 0xD8):  # TEM and SOI stand alone
            continue
        (length,) = struct.unpack_from(">H", view, position)
        segment = view[position + 2 : position + max(length, 2)]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", segment, 1)
        elif marker == 0xDA:
            scans += 1
        elif marker == 0xE1 and bytes(segment[:6]) == b"Exif\0\0":
            orientation = _exif_orientation(segment[6:])
        if scans > MAX_SCANS:
            raise BadInput("bad_input", f"the JPEG has over {MAX_SCANS} scans")
        position += max(length, 2)
    else:
        raise BadInput("bad_input", f"the JPEG has over {MAX_PARTS} segments")
    if not scans:
        raise _truncated("JPEG", "it has a header but no picture")
    return ImageHeader("JPEG", width, height, orientation)


# --- PNG (ISO/IEC 15948) -------------------------------------------------------------------------------------------


def _read_png(view: memoryview) -> ImageHeader:
    if bytes(view[12:16]) != b"IHDR":
        raise BadInput("bad_input", "the PNG does not begin with its header")
    width, height = struct.unpack_from(">II", view, 16)
    orientation, position = 1, 8
    for _ in range(MAX_PARTS):
        if position + 12 > len(view):
            raise _truncated("PNG", "it has no end chunk")
        (length,) = struct.unpack_from(">I", view, position)
        kind = bytes(view[position + 4 : position + 8])
        missing_bytes = position + 12 + length - len(view)
        if missing_bytes > 0:
            raise _truncated("PNG", f"its chunk {_shown(kind)} lacks {missing_bytes} bytes")
        if kind == b"IEND":
            return ImageHeader("PNG", width, height, orientation)
        if kind == b"eXIf":
            orientation = _exif_orientation(view[position + 8 : position + 8 + length])
        position += 12 + length
    raise BadInput("bad_input", f"the PNG has over {MAX_PARTS} chunks")


# --- WebP (RFC 9649) -----------------------------------------------------------------------------------------------


def _read_webp(view: memoryview) -> ImageHeader:
    (riff_size,) = struct.unpack_from("<I", view, 4)
    if riff_size + 8 > len(view):
        raise _truncated("WebP", f"its header says {riff_size + 8} bytes, {len(view)} came")
    kind = bytes(view[12:16])
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", view, 26)
        return ImageHeader("WebP", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", view, 21)
        return ImageHeader("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind != b"VP8X":
        raise BadInput("bad_input", f"the WebP begins with an unknown chunk {_shown(kind)}")
    width = 1 + int.from_bytes(view[24:27], "little")
    height = 1 + int.from_bytes(view[27:30], "little")
    return ImageHeader("WebP", width, height, _webp_orientation(view[: riff_size + 8]))


def _webp_orientation(view: memoryview) -> int:
    position = 12
    for _ in range(MAX_PARTS):
        if position + 8 > len(view):
            return 1
        kind, (length,) = bytes(view[position : position + 4]), struct.unpack_from("<I", view, position + 4)
        if kind == b"EXIF":
            exif = view[position + 8 : position + 8 + length]
            return _exif_orientation(exif[6:] if bytes(exif[:6]) == b"Exif\0\0" else exif)
        position += 8 + length + (length & 1)
    raise BadInput("bad_input", f"the WebP has over {MAX_PARTS} chunks")


# --- BMP -----------------------------------------------------------------------------------------------------------


def _read_bmp(view: memoryview) -> ImageHeader:
    pixels_at, header_bytes = struct.unpack_from("<II", view, 10)
    if header_bytes == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", view, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", view, 18)
    header = ImageHeader("BMP", width, abs(height))  # a negative height is a picture stored top down
    needed_bytes = pixels_at + (width * bits + 31) // 32 * 4 * header.height
    if compression in (0, 3) and needed_bytes > len(view):  # 0 and 3 are not compressed
        raise _truncated("BMP", f"its pixels need {needed_bytes} bytes, {len(view)} came")
    return header


# --- GIF (GIF89a) --------------------------------------------------------------------------------------------------


def _read_gif(view: memoryview) -> ImageHeader:
    width, height, flags = struct.unpack_from("<HHB", view, 6)
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    blocks = 0
    while blocks < MAX_SUB_BLOCKS:
        kind = view[position]
        if kind == 0x2C:  # an image: its own size and palette, the code size, then sub-blocks
            local = view[position + 9]
            position += 11 + (3 << (local & 7) + 1 if local & 0x80 else 0)
        elif kind == 0x21:
            position += 2
        else:
            raise BadInput("bad_input", "the GIF has no picture")
        while view[position] and blocks < MAX_SUB_BLOCKS:
            position += 1 + view[position]
            blocks += 1
        position += 1
        blocks += 1
        if kind == 0x2C:
            return ImageHeader("GIF", width, height, first_frame_bytes=position)
    raise BadInput("bad_input", f"the GIF has over {MAX_SUB_BLOCKS} blocks before the end of its first picture")


# --- TIFF 6.0, and the TIFF inside an EXIF segment -----------------------------------------------------------------


def _read_tiff(view: memoryview) -> ImageHeader:
    tags = dict(_ifd(view))
    if not {256, 257} <= tags.keys():
        raise BadInput("bad_input", "the TIFF does not say its size")
    width, height = tags[256], tags[257]
    rows = tags.get(278, 0xFFFFFFFF)  # the largest number stands for one strip
    return ImageHeader(
        "TIFF",
        width,
        height,
        extra_sample=tags.get(338, 0),
        white_is_zero=tags.get(262, 1) == 0,
        block_pixels=tags[322] * tags.get(323, 0) if 322 in tags else width * (0 if rows == 0xFFFFFFFF else rows),
    )


def _ifd(view: memoryview) -> Iterator[tuple[int, int]]:
    """The tags of the first directory that hold one short or long (or start with one); others are passed over."""
    order = "<" if view[0] == 0x49 else ">"
    (start,) = struct.unpack_from(f"{order}I", view, 4)
    (count,) = struct.unpack_from(f"{order}H", view, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", view, at)
        if kind == 3 and values:
            yield tag, struct.unpack_from(f"{order}H", view, at + 8 if values <= 2 else _offset(view, order, at))[0]
        elif kind == 4 and values:
            yield tag, struct.unpack_from(f"{order}I", view, at + 8 if values == 1 else _offset(view, order, at))[0]


def _offset(view: memoryview, order: str, at: int) -> int:
    return int(struct.unpack_from(f"{order}I", view, at + 8)[0])


def _exif_orientation(exif: memoryview) -> int:
    """1 for anything that cannot be read: a broken EXIF never refuses a good picture."""
    if not _is_tiff(exif):
        return 1
    try:
        orientation = next((value for tag, value in _ifd(exif) if tag == 0x0112), 1)
    except struct.error:
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _is_tiff(view: memoryview) -> bool:
    return bytes(view[:4]) in (b"II*\0", b"MM\0*")


def _shown(kind: bytes) -> str:
    return repr(kind.decode("latin-1"))


_READERS: tuple[tuple[Callable[[memoryview], bool], Callable[[memoryview], ImageHeader]], ...] = (
    (lambda view: bytes(view[:3]) == b"\xff\xd8\xff", _read_jpeg),
    (lambda view: bytes(view[:8]) == b"\x89PNG\r\n\x1a\n", _read_png),
    (lambda view: bytes(view[:4]) == b"RIFF" and bytes(view[8:12]) == b"WEBP", _read_webp),
    (lambda view: bytes(view[:2]) == b"BM", _read_bmp),
    (lambda view: bytes(view[:6]) in (b"GIF87a", b"GIF89a"), _read_gif),
    (_is_tiff, _read_tiff),
)
