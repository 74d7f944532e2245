"""From an image file to upright RGB pixels, whatever the format: the one place that decodes.

The header is read and bounded first (image_header.py), and only a file that says it is whole reaches the decoder.
What comes out is always [height, width, 3] uint8; what cannot is one BadInput. Transparency is laid over white, as a
browser's page does; OpenCV does not tell the alpha of a grey TIFF, so that one is ignored.
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

_BAND_ROWS = 64

_REDUCED = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))


def quiet_decoders() -> None:
    """Keeps OpenCV from writing a line about each damaged picture: the one who sent it is told. For the process."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode_image(body: bytes | memoryview, max_pixels: int, least: tuple[int, int] | None = None) -> Pixels:
    """RGB pixels [height, width, 3], upright. Raises BadInput.

    `least` is (width, height) that the caller will scale down to: a JPEG may then come out smaller than it is, but at
    least REDUCED_MARGIN times that. None always gives the full size.
    """
    header = read_header(body, max_pixels)
    match header.format:
        case "JPEG":
            return _upright(_decode_jpeg(body, header, least), header.orientation)
        case "GIF":  # the other frames are cut off, or OpenCV would read through all of them
            body = bytes(memoryview(body)[: header.first_frame_bytes]) + b";"
            return _to_rgb(_decoded(body, header, cv2.IMREAD_UNCHANGED), header)
        case "TIFF":  # OpenCV turns it upright under every flag
            return _to_rgb(_decoded(body, header, cv2.IMREAD_UNCHANGED), header)
        case _:
            return _upright(_to_rgb(_decoded(body, header, cv2.IMREAD_UNCHANGED), header), header.orientation)


def _decoded(body: bytes | memoryview, header: ImageHeader, flags: int) -> NDArray[np.generic]:
    try:
        pixels = cv2.imdecode(np.frombuffer(body, np.uint8), flags)
    except cv2.error as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput("bad_input", f"the {header.format} could not be decoded: {reason}") from error
    if pixels is None:
        raise BadInput("bad_input", f"the {header.format} could not be decoded: its data is damaged or truncated")
    return cast("NDArray[np.generic]", pixels)


def _decode_jpeg(body: bytes | memoryview, header: ImageHeader, least: tuple[int, int] | None) -> Pixels:
    """OpenCV turns grey, YCbCr, CMYK and YCCK into three colours; CMYK is taken as inverted, as all writers do it."""
    for divisor, flag in _REDUCED:
        if least and _large_enough(header, divisor, least):
            reduced = _decoded(body, header, flag | cv2.IMREAD_IGNORE_ORIENTATION)
            return cast(Pixels, cv2.cvtColor(cast(Pixels, reduced), cv2.COLOR_BGR2RGB))
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
    is_16_bit = pixels.dtype == np.uint16
    shades = cast(Pixels, cv2.convertScaleAbs(cast(Pixels, pixels), alpha=1 / 257) if is_16_bit else pixels)
    if shades.ndim == 2:
        if is_16_bit and header.white_is_zero:  # OpenCV turns these round for 8 bits only
            shades = ~shades
        return cast(Pixels, cv2.cvtColor(shades, cv2.COLOR_GRAY2RGB))
    if shades.shape[2] == 3:
        return cast(Pixels, cv2.cvtColor(shades, cv2.COLOR_BGR2RGB))
    if header.format != "TIFF":
        return _over_white(shades, premultiplied=False)
    if header.extra_sample in (1, 2):
        # libtiff, which OpenCV reads 8 bits through, has multiplied the colours by plain alpha already.
        return _over_white(shades, premultiplied=header.extra_sample == 1 or not is_16_bit)
    return cast(Pixels, cv2.cvtColor(shades, cv2.COLOR_BGRA2RGB))


def _over_white(bgra: Pixels, premultiplied: bool) -> Pixels:
    """In bands of rows, so that the wider numbers in between never need the memory of a whole large picture."""
    rgb = cast(Pixels, cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGB))
    for start in range(0, len(rgb), _BAND_ROWS):
        band = rgb[start : start + _BAND_ROWS]
        alpha = bgra[start : start + _BAND_ROWS, :, 3:4].astype(np.uint16)
        colours = band if premultiplied else (band * alpha + 127) // 255
        band[...] = np.minimum(colours + (255 - alpha), 255)
    return rgb


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undoes the eight EXIF orientations (Exif 2.32, 4.6.4): first a transposition for 5 to 8, then flips."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
