"""Files, bytes and arrays become bodies; an array's PNG is what OpenCV reads back, pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from gateway.client import BadPicture
from gateway.client.pictures import Picture, name_of, png_of, read_picture


def test_a_file_is_sent_as_it_is(tmp_path: Path) -> None:
    """By its suffix; what has none that is known is any bytes, and the worker looks at them."""
    for name, kind in (("a.JPG", "image/jpeg"), ("b.tif", "image/tiff"), ("c", "application/octet-stream")):
        file = tmp_path / name
        file.write_bytes(b"x" + name.encode())
        assert read_picture(file) == Picture(str(file), kind, b"x" + name.encode())
        assert read_picture(str(file)) == read_picture(file)


def test_bytes_are_called_by_their_place() -> None:
    """Whatever holds them."""
    for body in (b"x", bytearray(b"x"), memoryview(b"x")):
        assert read_picture(body, 4) == Picture("4", "application/octet-stream", b"x")
    assert name_of(Path("a/b.png"), 4) == "a/b.png"


def test_an_array_becomes_a_png() -> None:
    """Every pixel, RGB, also of a view whose rows are not beside each other."""
    pixels = np.random.default_rng(1).integers(0, 256, (37, 53, 3), np.uint8)
    for array in (pixels, pixels[::-1, ::2], np.ones((1, 1, 3), np.uint8)):
        picture = read_picture(array)
        assert picture.content_type == "image/png"
        read = cv2.imdecode(np.frombuffer(picture.body, np.uint8), cv2.IMREAD_UNCHANGED)
        assert read is not None
        assert np.array_equal(read[..., ::-1], array)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_an_array_that_is_no_picture_is_said(array: np.ndarray) -> None:
    """With its type and shape, and what it must be."""
    with pytest.raises(BadPicture, match=r"must be uint8 \[height, width, 3\] in RGB"):
        png_of(array)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """Not there, a folder, a device without an end, a name that no file can have."""
    for file in (str(tmp_path / "gone.png"), str(tmp_path), "/dev/zero", "a\0b"):
        with pytest.raises(BadPicture, match="unreadable"):
            read_picture(file)
