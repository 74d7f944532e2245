"""OpenCV's networks: both formats, both layouts, what they refuse, and the embedded model by way of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from edge_worker.backends.base import Answer, Backend, BackendFailed, Call
from edge_worker.backends.factory import open_backend
from edge_worker.backends.opencv_dnn import OpenCVLoader
from edge_worker.backends.settings import BackendSettings
from edge_worker.models.registry import EMBEDDED, read_model
from edge_worker.models.spec import ModelSpec, parse_spec
from tests.support import pictures
from tests.support.models import write_model
from tests.support.onnx import colour_network

SAMPLES = sorted((EMBEDDED / "samples").glob("*.png"))


def spec_of(folder: Path) -> ModelSpec:
    return parse_spec((folder / "model.toml").read_text(encoding="utf-8"))


async def ask(backend: Backend, model: str, body: bytes, top: int = 3) -> Answer:
    return await backend.answer(Call(model, "POST", f"/inference/{model}?top={top}", (), body))


def first(answer: Answer) -> dict[str, object]:
    prediction = json.loads(answer.body)["predictions"][0]
    assert isinstance(prediction, dict)
    return prediction


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
async def test_onnx_of_both_layouts_is_given_its_channels_in_order(tmp_path: Path, layout: str) -> None:
    """A network that answers the mean of each colour says which colour a picture has."""
    write_model(tmp_path, colour_network(6, 4, layout), layout=layout)
    backend = open_backend("opencv_dnn", BackendSettings(model_dirs=(tmp_path,), embedded=False))
    (model,) = await backend.start()
    assert model.failure == ""
    for index, label in enumerate(("red", "green", "blue")):
        pixels = np.zeros((9, 7, 3), np.uint8)
        pixels[..., index] = 255
        assert first(await ask(backend, "colours", pictures.encoded(".png", pixels)))["label"] == label
    await backend.close()


@pytest.mark.parametrize("slots", [1, 3])
async def test_every_sample_of_the_embedded_model_is_read_right(slots: int) -> None:
    """Ten pictures of digits, all asked for at once, give their digits; each slot's network answers alike."""
    backend = open_backend("opencv_dnn", BackendSettings(slots=slots))
    (model,) = await backend.start()
    assert (model.name, model.slots, model.failure) == ("digits", slots, "")
    answers = await asyncio.gather(*[ask(backend, "digits", sample.read_bytes()) for sample in SAMPLES * 2])
    assert [f"digit-{first(answer)['label']}" for answer in answers] == [sample.stem for sample in SAMPLES] * 2
    assert [answer.body for answer in answers[:10]] == [answer.body for answer in answers[10:]]
    await backend.close()


async def test_the_embedded_model_passes_its_probe() -> None:
    """The picture that is made for the probe is answered like any other."""
    backend = open_backend("opencv_dnn", BackendSettings())
    await backend.start()
    assert len(json.loads((await backend.probe("digits")).body)["predictions"]) == 5
    await backend.close()


@pytest.mark.parametrize("content", [b"", b"not a network", bytes(1000)])
def test_a_file_that_is_no_network_is_refused_with_the_reason_of_opencv(tmp_path: Path, content: bytes) -> None:
    """For ONNX and for a frozen graph."""
    for kind in ("onnx", "tf-frozen"):
        folder = write_model(tmp_path / kind, format=f'format = "{kind}"')
        with pytest.raises(BackendFailed, match="OpenCV"):
            OpenCVLoader().load(spec_of(folder), content)


def test_a_batch_of_another_shape_fails_and_the_next_does_not() -> None:
    """Three colours for a grey network are refused; a good batch of two is answered after it."""
    model = read_model(EMBEDDED)
    assert model.spec is not None
    engine = OpenCVLoader().load(model.spec, (EMBEDDED / "digits.pb").read_bytes())
    with pytest.raises(BackendFailed, match=r"a batch of \(8, 8, 3\)"):
        engine.predict(np.zeros((1, 8, 8, 3), np.float32))
    assert engine.predict(np.zeros((2, 8, 8, 1), np.float32)).shape == (2, 10)


def test_an_input_that_the_network_has_not_is_a_failure(tmp_path: Path) -> None:
    """A wrong name of the input shows at the warm-up, before the worker is ready."""
    folder = write_model(tmp_path, colour_network(6, 4), name='name = "nonsense"')
    spec = spec_of(folder)
    with pytest.raises(BackendFailed, match="nonsense"):
        OpenCVLoader().load(spec, colour_network(6, 4)).predict(np.zeros((1, 4, 6, 3), np.float32))


def test_an_output_that_the_network_has_not_is_named(tmp_path: Path) -> None:
    """The message says which outputs there are."""
    folder = write_model(tmp_path)
    text = (folder / "model.toml").read_text(encoding="utf-8").replace('"means"', '"nonsense"')
    with pytest.raises(BackendFailed, match=r"output.name = 'nonsense': the network's outputs are means"):
        OpenCVLoader().load(parse_spec(text), colour_network(6, 4))
    unnamed = parse_spec(text.replace('"nonsense"', '""'))
    assert OpenCVLoader().load(unnamed, colour_network(6, 4)).predict(np.ones((1, 4, 6, 3), np.float32)).shape == (1, 3)
