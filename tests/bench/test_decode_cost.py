"""What a large JPEG costs to decode: both ways are the worker's, and what is printed follows from the times."""

from __future__ import annotations

import numpy as np
import pytest

from bench import decode_cost
from bench.decode_cost import SIZE, Decoded, enlarged, full_way, measure, reduced_way, summary
from edge_worker.backends.image import decode_image
from edge_worker.backends.image_header import read_header
from edge_worker.backends.opencv_dnn import OpenCVLoader
from edge_worker.models.registry import EMBEDDED, find_models, read_model, read_verified
from tests.support import data, pictures


def test_an_image_is_enlarged_to_12_megapixels() -> None:
    """As a JPEG; what is no image is refused."""
    header = read_header(enlarged(pictures.encoded(".png")), 12_000_000)
    assert (header.format, header.width, header.height) == ("JPEG", 4000, 3000)
    with pytest.raises(ValueError, match="is no image"):
        enlarged(b"text")


def test_only_the_workers_way_is_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The full way asks for every pixel; both end in an input of the network's shape."""
    asked: list[tuple[int, int] | None] = []
    decode = decode_cost.decode_image

    def noting(body: bytes, max_pixels: int, least: tuple[int, int] | None = None) -> object:
        asked.append(least)
        return decode(body, max_pixels, least)

    monkeypatch.setattr(decode_cost, "decode_image", noting)
    spec = read_model(EMBEDDED).spec
    assert spec is not None
    jpeg = pictures.encoded(".jpg")
    assert full_way(spec.input)(jpeg).shape == reduced_way(spec.input)(jpeg).shape == (1, 8, 8, 1)
    assert asked == [None, (8, 8)]


def test_the_summary() -> None:
    """The median of the ratios, not the ratio of the medians; the largest; and how many are the same."""
    lines = summary([Decoded(0.1, 0.01, True), Decoded(0.2, 0.04, False), Decoded(0.4, 0.06, True)], "m")
    assert lines[1] == "CPU: full 200.0 ms, reduced 40.0 ms; ratio 0.150, at most 0.200"
    assert lines[2] == "same top-1: 2 of 3"


def test_enlarged_photographs_are_answered_alike() -> None:
    """Every fourth photograph, at 12 megapixels: the network sees the same in it, whichever way it is decoded.
    `python -m bench.decode_cost` looks at them all."""
    (found,) = find_models([data.model_dir() / "mobilenet_v2"], embedded=False)
    assert found.spec is not None, found.failure
    engine = OpenCVLoader().load(found.spec, read_verified(found))
    images = [one.path.read_bytes() for one in data.photographs()[::4]]
    results = measure(images, found.spec.input, engine, rounds=1)
    assert [one.is_same for one in results] == [True] * 16


def test_12_megapixels_are_decoded_at_a_quarter_of_each_side() -> None:
    """For an input of 224x224 pixels: a smaller part would leave less than twice of them."""
    jpeg = pictures.encoded(".jpg", np.zeros((SIZE[1], SIZE[0]), np.uint8))
    assert decode_image(jpeg, decode_cost.MAX_PIXELS, least=(224, 224)).shape == (750, 1000, 3)
