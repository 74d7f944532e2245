"""Every kind of image file comes out as the same upright RGB pixels, or as one BadInput."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_worker.backends.base import BadInput
from edge_worker.backends.image import decode_image, quiet_decoders
from tests.support import pictures
from tests.support.pictures import CORNER, HEIGHT, LEFT, RIGHT, WIDTH

MANY = 1_000_000
FILES = {
    **pictures.every_format(),
    "cmyk": pictures.cmyk_jpeg(),
    "turned": pictures.jpeg_turned(6),
    "tiff16": pictures.tiff(pictures.picture().astype(np.uint16) * 257, 2),
    "animation": pictures.gif([0, 1], transparent=0),
}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    quiet_decoders()


def close(pixels: NDArray[np.uint8], colour: tuple[int, int, int], off: int = 0) -> bool:
    return bool(np.abs(pixels.astype(int) - colour).max() <= off)


def assert_is_the_picture(pixels: NDArray[np.uint8], off: int = 0) -> None:
    """Looks away from the edges of the three areas, where a lossy format blurs."""
    assert (pixels.shape, pixels.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    assert close(pixels[CORNER + 8 :, 2 : WIDTH // 2 - 8], LEFT, off)
    assert close(pixels[:, WIDTH // 2 + 8 :], RIGHT, off)
    assert close(pixels[: CORNER - 4, : CORNER - 4], (255, 255, 255), off)


@pytest.mark.parametrize(
    ("name", "off"),
    [("png", 0), ("bmp", 0), ("tiff", 0), ("webp", 0), ("jpg", 12), ("webp-lossy", 12), ("gif", 100)],
)
def test_every_format_gives_the_same_picture(name: str, off: int) -> None:
    """Formats without loss give the very pixels, in the order red, green, blue."""
    assert_is_the_picture(decode_image(FILES[name], MANY), off)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_comes_out_upright(orientation: int) -> None:
    """Each of EXIF's eight orientations is undone."""
    assert_is_the_picture(decode_image(pictures.jpeg_turned(orientation), MANY), 10)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_png_comes_out_upright(orientation: int) -> None:
    """PNG has EXIF too, in a chunk of its own."""
    png = pictures.encoded(".png", pictures.stored_for(pictures.picture(), orientation))
    chunk = pictures.png_chunk(b"eXIf", pictures.exif(orientation))
    assert_is_the_picture(decode_image(png[:33] + chunk + png[33:], MANY))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("start", [b"", b"Exif\0\0"])
def test_a_turned_webp_comes_out_upright(orientation: int, start: bytes) -> None:
    """WebP has EXIF in a chunk, with or without the mark that JPEG puts before it."""
    stored = pictures.stored_for(pictures.picture(), orientation)
    webp = pictures.encoded(".webp", stored, cv2.IMWRITE_WEBP_QUALITY, 101)
    exif = start + pictures.exif(orientation)
    sides = (stored.shape[1] - 1).to_bytes(3, "little") + (stored.shape[0] - 1).to_bytes(3, "little")
    extended = b"VP8X" + struct.pack("<II", 10, 0x08) + sides
    chunks = b"WEBP" + extended + webp[12:] + b"EXIF" + struct.pack("<I", len(exif)) + exif + bytes(len(exif) % 2)
    assert_is_the_picture(decode_image(b"RIFF" + struct.pack("<I", len(chunks)) + chunks, MANY))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_turned_tiff_comes_out_upright_once(orientation: int, depth: type[np.generic]) -> None:
    """TIFF carries its orientation itself; it is undone once, for 8 and for 16 bits."""
    stored = pictures.stored_for(pictures.picture(), orientation)
    wide = np.ascontiguousarray(stored).astype(depth) * depth(257 if depth is np.uint16 else 1)  # type: ignore[call-arg]
    assert_is_the_picture(decode_image(pictures.tiff(wide, 2, (274, 3, orientation)), MANY))


@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_sixteen_bits_become_eight(extension: str) -> None:
    """A sample of 16 bits is divided by 257 and rounded, so that white stays white and 128 stays 128."""
    values = np.array([[0, 128, 129, 128 * 257, 65535 - 257, 65535]], np.uint16)
    pixels = decode_image(pictures.encoded(extension, values), MANY)
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 128, 254, 255]


@pytest.mark.parametrize("extension", [".jpg", ".png", ".bmp", ".tiff", ".webp"])
def test_grey_becomes_three_equal_colours(extension: str) -> None:
    """A grey picture has three channels like any other."""
    pixels = decode_image(pictures.encoded(extension, np.full((HEIGHT, WIDTH), 77, np.uint8)), MANY)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert close(pixels, (77, 77, 77), 1)


@pytest.mark.parametrize("jpeg", [pictures.cmyk_jpeg(), pictures.ycck_jpeg()], ids=["cmyk", "ycck"])
def test_a_jpeg_for_print_has_its_true_colours(jpeg: bytes) -> None:
    """CMYK and YCCK, inverted as Adobe writes them, give the colours that they print."""
    pixels = decode_image(jpeg, MANY)
    assert close(pixels[:, : WIDTH // 2], LEFT, 3)
    assert close(pixels[:, WIDTH // 2 :], RIGHT, 3)


def test_a_tiff_for_print_has_its_true_colours() -> None:
    """A TIFF stores CMYK as ink: 0 is none."""
    inks = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    inks[..., :3] = 255 - pictures.picture()
    assert_is_the_picture(decode_image(pictures.tiff(inks, 5), MANY), 1)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_tiff_in_which_white_is_zero_is_not_a_negative(depth: type[np.generic]) -> None:
    """Fax machines store white as 0; it comes out white in 8 and in 16 bits."""
    most = np.iinfo(depth).max  # type: ignore[type-var]
    stored = np.array([[0, most]], depth)
    assert decode_image(pictures.tiff(stored, 0), MANY)[0, :, 0].tolist() == [255, 0]


def rgba(alpha: int) -> NDArray[np.uint8]:
    return np.dstack([pictures.picture(), np.full((HEIGHT, WIDTH), alpha, np.uint8)])


@pytest.mark.parametrize("extension", [".png", ".webp", ".bmp"])
@pytest.mark.parametrize(("alpha", "red"), [(255, 200), (0, 255), (128, 227)])
def test_what_is_transparent_is_laid_over_white(extension: str, alpha: int, red: int) -> None:
    """As on a white page: opaque stays, clear becomes white, half is half of both."""
    options = (cv2.IMWRITE_WEBP_QUALITY, 101) if extension == ".webp" else ()
    pixels = decode_image(pictures.encoded(extension, rgba(alpha), *options), MANY)
    assert abs(int(pixels[HEIGHT // 2, 4, 0]) - red) <= 1


def test_transparency_of_sixteen_bits_is_laid_over_white() -> None:
    """The same for 16 bits a sample."""
    pixels = decode_image(pictures.encoded(".png", rgba(128).astype(np.uint16) * 257), MANY)
    assert abs(int(pixels[HEIGHT // 2, 4, 0]) - 227) <= 1


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize(("kind", "stored_red", "red"), [(0, 200, 200), (1, 100, 227), (2, 200, 227)])
def test_a_tiff_says_what_its_fourth_sample_is(depth: type[np.generic], kind: int, stored_red: int, red: int) -> None:
    """Unspecified is no alpha; premultiplied alpha is not multiplied again; plain alpha is."""
    pixels = rgba(128).astype(np.uint16)
    pixels[..., 0] = stored_red
    wide = (pixels * (257 if depth is np.uint16 else 1)).astype(depth)
    decoded = decode_image(pictures.tiff(wide, 2, (338, 3, kind)), MANY)
    assert abs(int(decoded[HEIGHT // 2, 4, 0]) - red) <= 1


def test_the_fourth_byte_of_a_plain_bmp_is_padding() -> None:
    """Most 32-bit BMPs declare no alpha and hold zeros there: they are not invisible."""
    head = (
        b"BM" + struct.pack("<IHHI", 54 + 64, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 32, 0, 0, 0, 0, 0, 0)
    )
    assert close(decode_image(head + bytes([20, 50, 200, 0]) * 16, MANY), LEFT)


def test_palettes_and_few_bits_are_spread_out() -> None:
    """One bit, two bits, a palette and a palette with transparency."""
    palette = pictures.png_chunk(b"PLTE", bytes([200, 50, 20, 10, 180, 90]))
    clear = pictures.png_chunk(b"tRNS", b"\0\xff")
    row = b"\0\1" * 8
    assert decode_image(pictures.png(16, 4, 1, 0, b"\xff\0"), MANY)[0, [0, 15], 0].tolist() == [255, 0]
    assert decode_image(pictures.png(16, 4, 2, 0, b"\x1b" * 4), MANY)[0, :4, 0].tolist() == [0, 85, 170, 255]
    assert decode_image(pictures.png(16, 4, 8, 3, row, palette), MANY)[0, :2].tolist() == [list(LEFT), list(RIGHT)]
    over_white = decode_image(pictures.png(16, 4, 8, 3, row, palette, clear), MANY)
    assert over_white[0, :2].tolist() == [[255, 255, 255], list(RIGHT)]


def test_grey_with_alpha_is_laid_over_white() -> None:
    """A PNG of two samples a pixel."""
    assert close(decode_image(pictures.png(16, 4, 8, 4, b"\x50\x80" * 16), MANY), (167, 167, 167), 1)


def test_the_first_frame_of_an_animation_is_the_picture() -> None:
    """Green and blue come after red and are not looked at, even where they are damaged."""
    gif = pictures.gif([0, 1, 2])
    assert close(decode_image(gif, MANY), (255, 0, 0), 4)
    assert close(decode_image(gif[:-60], MANY), (255, 0, 0), 4)


def test_the_clear_colour_of_a_gif_is_white() -> None:
    """A GIF has one colour that is transparent."""
    assert close(decode_image(pictures.gif([0], transparent=0), MANY), (255, 255, 255))


@pytest.mark.parametrize("extension", [".webp", ".png"])
def test_the_first_frame_of_other_animations_is_the_picture(extension: str) -> None:
    """WebP and PNG can be animations too."""
    animation = cv2.Animation()
    colours = [(0, 0, 255, 255), (0, 255, 0, 255)]
    animation.frames = [np.full((HEIGHT, WIDTH, 4), colour, np.uint8) for colour in colours]
    animation.durations = np.array([100, 100])
    done, file = cv2.imencodeanimation(extension, animation)
    assert done
    assert close(decode_image(bytes(file), MANY), (255, 0, 0), 8)


def test_samples_that_are_no_whole_numbers_are_refused() -> None:
    """What white is in a TIFF of floats is not said; it is refused by name."""
    with pytest.raises(BadInput, match="float32 samples"):
        decode_image(pictures.encoded(".tiff", pictures.picture().astype(np.float32)), MANY)


def test_data_that_is_damaged_is_refused() -> None:
    """A file whose header and end are right but whose data is not."""
    png = bytearray(pictures.encoded(".png"))
    png[60] ^= 0xFF
    with pytest.raises(BadInput, match="damaged or truncated"):
        decode_image(bytes(png), MANY)


def large_photograph(width: int, height: int) -> NDArray[np.uint8]:
    """Smooth shapes with some grain, of which a part is clearly different from another."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (height // 200, width // 200, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return np.clip(smooth + rng.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("least", "divisor"),
    [(None, 1), ((401, 10), 1), ((400, 300), 2), ((224, 224), 2), ((200, 150), 4), ((100, 75), 8), ((8, 8), 8)],
)
def test_a_large_jpeg_is_decoded_smaller(least: tuple[int, int] | None, divisor: int) -> None:
    """1600x1200 comes out at the smallest scale that is still twice what the model takes, in both directions."""
    jpeg = pictures.encoded(".jpg", large_photograph(1600, 1200))
    pixels = decode_image(jpeg, 2_000_000, least)
    assert pixels.shape == (1200 // divisor, 1600 // divisor, 3)


def test_a_jpeg_decoded_smaller_is_the_same_picture() -> None:
    """After the model's own resizing, the quick way is within rounding of the long one: nothing moved or changed."""
    full = large_photograph(1600, 1200)
    jpeg = pictures.encoded(".jpg", full)
    for least, off in (((200, 150), 2.0), ((100, 75), 2.0)):
        long, quick = (
            cv2.resize(decode_image(jpeg, 2_000_000, way), least, interpolation=cv2.INTER_AREA).astype(int)
            for way in (None, least)
        )
        assert np.abs(long - quick).mean() < off
        assert np.abs(long - quick).max() < 12


def test_a_turned_jpeg_is_decoded_smaller_by_its_upright_sides() -> None:
    """A portrait that is stored lying is measured as it will be seen, and then turned."""
    jpeg = pictures.encoded(".jpg", large_photograph(1600, 400))
    turned = pictures.with_jpeg_segment(jpeg, 0xE1, b"Exif\0\0" + pictures.exif(6))
    assert decode_image(turned, 2_000_000, (100, 400)).shape == (800, 200, 3)
    assert decode_image(turned, 2_000_000, (400, 100)).shape == (1600, 400, 3)


@pytest.mark.parametrize("name", FILES)
def test_a_picture_cut_anywhere_is_a_picture_or_a_refusal(name: str) -> None:
    """A truncated file never gives anything but an image or a BadInput."""
    body = FILES[name]
    for length in range(0, len(body), max(1, len(body) // 60)):
        try:
            assert decode_image(body[:length], MANY).ndim == 3
        except BadInput:
            continue


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(sorted(FILES)),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=12),
    cut=st.floats(0, 1) | st.just(1.0),
    least=st.none() | st.just((4, 4)),
)
def test_any_damage_gives_a_picture_or_a_refusal(
    name: str, changes: list[tuple[float, int]], cut: float, least: tuple[int, int] | None
) -> None:
    """Whatever bytes are changed or missing: pixels within the limit, or one BadInput."""
    body = bytearray(FILES[name])
    for place, value in changes:
        body[int(place * len(body))] = value
    try:
        pixels = decode_image(bytes(body[: int(cut * len(body))]), MANY, least)
    except BadInput:
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3
    assert pixels.shape[0] * pixels.shape[1] <= MANY


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*"]),
)
def test_any_bytes_give_a_picture_or_a_refusal(body: bytes, start: bytes) -> None:
    """Bytes that nobody meant as an image."""
    try:
        decode_image(start + body, MANY)
    except BadInput:
        return
