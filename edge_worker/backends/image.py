"""From an image file to upright RGB pixels, whatever the format: the one place that decodes.

The header is read and bounded first (image_header.py), and only a file that says it is whole reaches the decoder.
What comes out is always [height, width, 3] uint8; what cannot is one BadInput. Transparency is laid over white, as a
browser's page does; alpha in a BMP or in a grey TIFF is ignored, for most writers leave noise there.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_worker.backends.base import BadInput
from edge_worker.backends.image_header import ImageHeader, read_header
from edge_worker.backends.preprocess import Pixels

REDUCED_MARGIN = 2
"""A large JPEG is decoded at 1/2, 1/4 or 1/8 while it stays this many times larger than what the model takes: the
decoder's scaling is an average as `area` is, and the second, larger half of the way is still made by the model's own
rule."""

_REDUCED = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))


def decode_image(body: bytes | memoryview, max_pixels: int, least: tuple[int, int] | None = None) -> Pixels:
    """RGB pixels [height, width, 3], upright. Raises BadInput.

    `least` is (width, height) that the caller will scale down to: a JPEG may then come out smaller than it is, but at
    least REDUCED_MARGIN times that. None always gives the full size.
    """
    header = read_header(body, max_pixels)
    if header.format == "JPEG":
        pixels = _decode_jpeg(body, header, least)
    elif header.format == "BMP":
        pixels = cast(Pixels, _decoded(body, header, cv2.IMREAD_COLOR_RGB))
    else:
        pixels = _to_rgb(_decoded(body, header, cv2.IMREAD_UNCHANGED), header)
    if header.format == "TIFF":
        return pixels  # OpenCV turns a TIFF upright under every flag
    return _upright(pixels, header.orientation)


def _decoded(body: bytes | memoryview, header: ImageHeader, flags: int) -> NDArray[np.generic]:
    try:
        pixels = cv2.imdecode(np.frombuffer(body, np.uint8), flags)
    except cv2.error as error:
        raise BadInput("bad_input", f"the {header.format} could not be decoded: {_reason(error)}") from error
    if pixels is None:
        raise BadInput("bad_input", f"the {header.format} could not be decoded: its data is damaged or truncated")
    return cast("NDArray[np.generic]", pixels)


def _reason(error: cv2.error) -> str:
    text = str(getattr(error, "err", "")) or str(error)
    return " ".join(text.split())[:200]


def _decode_jpeg(body: bytes | memoryview, header: ImageHeader, least: tuple[int, int] | None) -> Pixels:
    """OpenCV itself turns grey, YCbCr, CMYK and YCCK into three colours."""
    if header.channels == 4 and not header.adobe:
        raise BadInput("bad_input", "the JPEG is CMYK without an Adobe segment: whether it is inverted is not said")
    for divisor, flag in _REDUCED:
        if least and _large_enough(header, divisor, least):
            reduced = _decoded(body, header, flag | cv2.IMREAD_IGNORE_ORIENTATION)
            return cast(Pixels, cv2.cvtColor(cast("NDArray[np.uint8]", reduced), cv2.COLOR_BGR2RGB))
    return cast(Pixels, _decoded(body, header, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION))


def _large_enough(header: ImageHeader, divisor: int, least: tuple[int, int]) -> bool:
    width, height = header.width, header.height
    if header.orientation >= 5:
        width, height = height, width
    return width >= divisor * REDUCED_MARGIN * least[0] and height >= divisor * REDUCED_MARGIN * least[1]


def _to_rgb(pixels: NDArray[np.generic], header: ImageHeader) -> Pixels:
    """From what the file holds (grey, BGR or BGRA; 8 or 16 bits) to RGB of 8 bits."""
    if pixels.dtype not in (np.uint8, np.uint16):
        allowed = "whole numbers of 8 or 16 bits are taken"
        raise BadInput("bad_input", f"the {header.format} has {pixels.dtype} samples; {allowed}")
    if pixels.dtype == np.uint16 and header.white_is_zero:
        pixels = ~cast("NDArray[np.uint16]", pixels)  # OpenCV does this for 8 bits only
    if pixels.ndim == 2:
        return cast(Pixels, cv2.cvtColor(_to_8_bits(pixels), cv2.COLOR_GRAY2RGB))
    if pixels.shape[2] == 4:
        return _over_white(_to_8_bits(pixels), header, is_8_bit=pixels.dtype == np.uint8)
    return cast(Pixels, cv2.cvtColor(_to_8_bits(pixels), cv2.COLOR_BGR2RGB))


def _to_8_bits(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return cast("NDArray[np.uint8]", pixels)
    wide = cast("NDArray[np.uint32]", pixels.astype(np.uint32))
    return ((wide * 255 + 32767) // 65535).astype(np.uint8)


def _over_white(bgra: NDArray[np.uint8], header: ImageHeader, is_8_bit: bool) -> Pixels:
    rgb = cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGB)
    if header.format == "TIFF" and header.extra_sample not in (1, 2):
        return cast(Pixels, rgb)
    alpha = bgra[:, :, 3:4].astype(np.uint16)
    # OpenCV multiplies an 8-bit TIFF's colours by plain alpha itself (libtiff's RGBA interface).
    premultiplied = header.format == "TIFF" and (is_8_bit or header.extra_sample == 1)
    colours = rgb.astype(np.uint16) if premultiplied else (rgb * alpha + 127) // 255
    return cast(Pixels, np.minimum(colours + (255 - alpha), 255).astype(np.uint8))


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undoes the eight EXIF orientations (Exif 2.32, 4.6.4): first a transposition for 5 to 8, then flips."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
