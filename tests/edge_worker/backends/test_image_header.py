"""What is read of an image before it is decoded: sizes, limits, and whether it is whole."""

from __future__ import annotations

import struct

import pytest

from edge_worker.backends.base import BadInput
from edge_worker.backends.image_header import MAX_SCANS, ImageHeader, read_header
from tests.support import pictures

MANY = 1_000_000


def refusal(body: bytes, max_pixels: int = MANY) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read_header(body, max_pixels)
    return caught.value


@pytest.mark.parametrize("name", pictures.every_format())
def test_each_format_says_its_size(name: str) -> None:
    """Width and height are read from the header of every format."""
    header = read_header(pictures.every_format()[name], MANY)
    assert (header.width, header.height) == (pictures.WIDTH, pictures.HEIGHT)


def test_a_view_is_as_good_as_bytes() -> None:
    """A body may be a memoryview, as it comes from the tunnel."""
    assert read_header(memoryview(pictures.encoded(".png")), MANY).format == "PNG"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_orientation_of_a_jpeg_is_read_in_both_byte_orders(orientation: int, order: str) -> None:
    """The EXIF segment says how the picture lies, little-endian or big-endian."""
    assert read_header(pictures.jpeg_turned(orientation, order), MANY).orientation == orientation


@pytest.mark.parametrize(
    "exif",
    [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", pictures.exif(0), pictures.exif(9), b"nonsense" * 9],
)
def test_a_broken_exif_refuses_no_picture(exif: bytes) -> None:
    """What cannot be read of an EXIF block counts as upright."""
    jpeg = pictures.with_jpeg_segment(pictures.encoded(".jpg"), 0xE1, b"Exif\0\0" + exif)
    assert read_header(jpeg, MANY).orientation == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is empty"),
        (b"hello, gateway", "not an image: it begins with 68 65 6c 6c 6f"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"%PDF-1.7", "not an image"),
        (b"\x00", "not an image"),
    ],
)
def test_what_is_not_an_image_is_refused_by_its_first_bytes(body: bytes, reason: str) -> None:
    """The message says what came and what is taken."""
    error = refusal(body)
    assert error.code == "bad_input"
    assert reason in str(error)


@pytest.mark.parametrize("name", pictures.every_format())
def test_a_picture_over_the_limit_is_too_large(name: str) -> None:
    """One pixel under the picture's size is enough to refuse it, at the size itself it is taken."""
    body, pixels = pictures.every_format()[name], pictures.WIDTH * pictures.HEIGHT
    assert read_header(body, pixels).width == pictures.WIDTH
    error = refusal(body, pixels - 1)
    assert error.code == "payload_too_large"
    assert f"{pictures.WIDTH}x{pictures.HEIGHT} pixels; at most {pixels - 1} pixels" in str(error)


def test_a_bomb_is_refused_by_its_header() -> None:
    """A PNG of a few hundred bytes that would be 10 GB of pixels is refused from the header, whatever the limit."""
    body = bytearray(pictures.encoded(".png"))
    body[16:24] = struct.pack(">II", 60_000, 60_000)
    assert refusal(bytes(body), 64_000_000).code == "payload_too_large"
    body[16:24] = struct.pack(">II", 1, 70_000)
    assert refusal(bytes(body), 64_000_000).code == "payload_too_large"


@pytest.mark.parametrize(("tag", "value"), [(278, 1 << 31), (322, 1 << 20)])
def test_a_tiff_with_vast_blocks_is_too_large(tag: int, value: int) -> None:
    """A small TIFF in vast strips or tiles is refused: a decoder allocates each of them whole."""
    body = bytearray(pictures.tiff(pictures.picture(), 2, (322, 4, 16), (323, 4, 1 << 20)))
    if tag == 278:
        body = bytearray(pictures.tiff(pictures.picture(), 2))
    at = body.index(struct.pack("<HHI", tag, 4, 1))
    body[at + 8 : at + 12] = struct.pack("<I", value)
    assert refusal(bytes(body)).code == "payload_too_large"


def test_one_strip_of_all_rows_is_no_vast_block() -> None:
    """The largest number of rows a strip is how TIFF says that there is one strip."""
    body = bytearray(pictures.tiff(pictures.picture(), 2))
    at = body.index(struct.pack("<HHI", 278, 4, 1))
    body[at + 8 : at + 12] = b"\xff\xff\xff\xff"
    assert read_header(bytes(body), MANY).block_pixels == 0


@pytest.mark.parametrize("sides", [(0, 5), (5, 0)])
def test_a_picture_without_pixels_is_no_picture(sides: tuple[int, int]) -> None:
    """A header that says a side of 0 is refused."""
    body = bytearray(pictures.encoded(".png"))
    body[16:24] = struct.pack(">II", *sides)
    assert f"{sides[0]}x{sides[1]}" in str(refusal(bytes(body)))


@pytest.mark.parametrize("name", ["jpg", "png", "webp", "webp-lossy", "bmp", "gif"])
@pytest.mark.parametrize("missing_bytes", [1, 10, 100])
def test_a_truncated_picture_is_said_to_be_truncated(name: str, missing_bytes: int) -> None:
    """A file that ends early is refused before it is decoded, and told why."""
    body = pictures.every_format()[name]
    if name == "gif":
        body = body[:-1]  # the trailer after the only frame is not needed
    missing_bytes = min(missing_bytes, len(body) // 2)
    error = refusal(body[:-missing_bytes])
    assert error.code == "bad_input"
    assert "truncated" in str(error)


@pytest.mark.parametrize("name", pictures.every_format())
def test_every_beginning_of_a_picture_is_a_header_or_a_refusal(name: str) -> None:
    """Cut anywhere, a file gives an ImageHeader or a BadInput and nothing else."""
    body = pictures.every_format()[name]
    for length in range(len(body)):
        try:
            assert isinstance(read_header(body[:length], MANY), ImageHeader)
        except BadInput:
            continue


def test_bytes_after_the_end_of_a_jpeg_are_no_fault() -> None:
    """Cameras and editors append to a JPEG; what follows its end is not looked at."""
    jpeg = pictures.encoded(".jpg")
    assert read_header(jpeg + b"\xff\xd8\xff\xe1 a second picture, cut", MANY).width == pictures.WIDTH


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture() -> None:
    """A JPEG inside the EXIF segment does not hide that the outer one is cut."""
    thumbnail = pictures.encoded(".jpg")
    jpeg = pictures.with_jpeg_segment(pictures.encoded(".jpg"), 0xE1, b"Exif\0\0" + pictures.exif(1) + thumbnail)
    assert read_header(jpeg, MANY).width == pictures.WIDTH
    assert "no end-of-image" in str(refusal(jpeg[:-2]))


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    """Thousands of scans in a small file would keep a decoder busy for minutes."""
    jpeg = pictures.encoded(".jpg")
    start = jpeg.index(b"\xff\xda")
    scan = jpeg[start : start + 2 + struct.unpack_from(">H", jpeg, start + 2)[0]]
    assert "scans" in str(refusal(jpeg[:start] + scan * (MAX_SCANS + 1) + b"\xff\xd9"))


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\xe0\x00\x02", b"\xff\x00", b"\xff\x01", b"\xff\xe0\x00\x00"])
def test_a_jpeg_of_nothing_but_markers_ends(filler: bytes) -> None:
    """A megabyte of fill, stuffing or empty segments is walked in bounded steps."""
    error = refusal(b"\xff\xd8\xff" + filler * (1_000_000 // len(filler)))
    assert error.code == "bad_input"


def test_a_png_of_nothing_but_chunks_ends() -> None:
    """The number of chunks that are walked is bounded."""
    png = pictures.encoded(".png")
    assert "chunks" in str(refusal(png[:33] + pictures.png_chunk(b"teXt", b"") * 110_000 + png[33:]))


def test_a_gif_of_nothing_but_blocks_ends() -> None:
    """The number of sub-blocks before the end of the first picture is bounded."""
    gif = pictures.gif([0])
    palette_end = 13 + 3 * 128
    assert "blocks" in str(refusal(gif[:palette_end] + b"\x21\xfe\x00" * 450_000 + gif[palette_end:]))
    assert "blocks" in str(refusal(gif[:palette_end] + b"\x21\xfe" + b"\x01a" * 450_000 + gif[palette_end:]))


def test_only_the_first_picture_of_a_gif_has_to_be_whole() -> None:
    """An animation that is cut in its second frame still has a first one."""
    gif, first = pictures.gif([0, 1]), pictures.gif([0])
    assert read_header(gif[:-50], MANY).first_frame_bytes == len(first) - 1


def test_a_gif_without_a_picture_is_refused() -> None:
    """A GIF may be a comment and nothing else, but not here."""
    assert "no picture" in str(refusal(pictures.gif([])))
