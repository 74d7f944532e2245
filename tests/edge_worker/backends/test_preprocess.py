"""What a network is given for a picture, and what is made of its numbers: exact, by hand-made pictures."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_worker.backends.preprocess import from_tensor, to_batch, to_probabilities
from edge_worker.models.spec import InputSpec

SPEC = InputSpec(
    name="picture",
    layout="NHWC",
    width=4,
    height=2,
    colour="RGB",
    mean=(0.0, 0.0, 0.0),
    scale=(1.0, 1.0, 1.0),
    resize="stretch",
    interpolation="area",
)


def plain(colour: tuple[int, int, int], width: int = 4, height: int = 2) -> NDArray[np.uint8]:
    return np.full((height, width, 3), colour, np.uint8)


def test_a_value_is_the_pixel_less_the_mean_times_the_scale() -> None:
    """Mean and scale are applied in this order, each to its own channel."""
    spec = dataclasses.replace(SPEC, mean=(10.0, 20.0, 30.0), scale=(1.0, 0.5, 2.0))
    batch = to_batch(plain((110, 120, 130)), spec)
    assert (batch.shape, batch.dtype) == ((1, 2, 4, 3), np.float32)
    assert batch[0, 0, 0].tolist() == [100.0, 50.0, 200.0]


@pytest.mark.parametrize(
    ("colour", "channels"), [("RGB", [200.0, 100.0, 50.0]), ("BGR", [50.0, 100.0, 200.0]), ("GRAY", [124.0])]
)
def test_the_channels_are_in_the_order_of_the_description(colour: str, channels: list[float]) -> None:
    """Grey is 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601)."""
    numbers = (0.0,) * len(channels), (1.0,) * len(channels)
    spec = dataclasses.replace(SPEC, colour=colour, mean=numbers[0], scale=numbers[1])
    batch = to_batch(plain((200, 100, 50)), spec)
    assert batch.shape == (1, 2, 4, len(channels))
    assert batch[0, 0, 0].tolist() == channels


def test_the_mean_is_in_the_order_of_the_channels() -> None:
    """For BGR the first number belongs to blue."""
    spec = dataclasses.replace(SPEC, colour="BGR", mean=(50.0, 0.0, 0.0))
    assert to_batch(plain((200, 100, 50)), spec)[0, 0, 0].tolist() == [0.0, 100.0, 200.0]


def test_stretch_uses_the_whole_picture() -> None:
    """A square becomes wide: all four quarters are still there, each the average of its own area."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4, :4], pixels[4:, 4:] = 100, 200
    assert to_batch(pixels, SPEC)[0, :, :, 0].tolist() == [[100, 100, 0, 0], [0, 0, 200, 200]]


def test_crop_uses_the_middle() -> None:
    """Of a square only the middle half fits a wide input; of a wide strip only its middle part."""
    tall = np.zeros((8, 8, 3), np.uint8)
    tall[2:6] = 100
    wide = np.zeros((8, 64, 3), np.uint8)
    wide[:, 24:40] = 100
    spec = dataclasses.replace(SPEC, resize="crop")
    for pixels in (tall, wide):
        assert np.unique(to_batch(pixels, spec)).tolist() == [100]


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
@pytest.mark.parametrize("resize", ["stretch", "crop"])
def test_a_line_of_pixels_fills_the_input(shape: tuple[int, int], resize: str) -> None:
    """The thinnest pictures have an answer too."""
    batch = to_batch(np.full((*shape, 3), 9, np.uint8), dataclasses.replace(SPEC, resize=resize))
    assert np.unique(batch).tolist() == [9]


def test_area_averages_and_bilinear_samples() -> None:
    """Of one bright pixel in sixteen, area keeps a sixteenth; bilinear looks at the four in the middle only."""
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[0, 0] = 160
    assert to_batch(pixels, SPEC)[0, 0, 0, 0] == 10
    assert to_batch(pixels, dataclasses.replace(SPEC, interpolation="bilinear"))[0, 0, 0, 0] == 0


def test_probabilities_pass_through() -> None:
    """A network that ends in a softmax is believed; sides of 1 are dropped."""
    outputs = np.array([[[[0.25]], [[0.75]]]], np.float32)
    assert to_probabilities(outputs, softmax_done=True).tolist() == [[0.25, 0.75]]


def test_other_outputs_are_made_probabilities() -> None:
    """The softmax is per picture, and large numbers do not overflow it."""
    rows = to_probabilities(np.array([[0.0, np.log(3.0)], [1000.0, 1000.0]], np.float32), softmax_done=False)
    np.testing.assert_allclose(rows, [[0.25, 0.75], [0.5, 0.5]], rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(value: float) -> None:
    """A network that answers nan is broken, whichever way it ends."""
    for softmax_done in (True, False):
        with pytest.raises(ValueError, match="not finite"):
            to_probabilities(np.array([[0.5, value]], np.float32), softmax_done)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_a_tensor_is_turned_to_channels_last(layout: str) -> None:
    """Its shape is the network's own; what comes out has the channels last, whatever that is."""
    spec = dataclasses.replace(SPEC, layout=layout)
    values = np.arange(2 * 2 * 4 * 3, dtype=np.float32).reshape(2, spec.height, spec.width, 3)
    sent = values if layout == "NHWC" else values.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(from_tensor(memoryview(sent.tobytes()), spec), values)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_tensor_with_what_is_no_number_is_refused(value: float) -> None:
    """An engine would answer with as little, and be blamed for it."""
    values = np.zeros((1, SPEC.height, SPEC.width, 3), np.float32)
    values[0, 1, 1, 1] = value
    with pytest.raises(ValueError, match="not finite"):
        from_tensor(values.tobytes(), SPEC)
