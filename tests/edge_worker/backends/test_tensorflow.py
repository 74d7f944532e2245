"""TensorFlow's networks: three formats, what they refuse and with which words, and the GPU that is not there."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_worker.backends.base import Backend, BackendFailed, Call, ServedModel
from edge_worker.backends.factory import open_backend
from edge_worker.backends.settings import BackendSettings
from edge_worker.models.registry import EMBEDDED, read_model
from tests.support import networks, pictures
from tests.support.networks import THREADS, needs_tensorflow

pytestmark = needs_tensorflow
ROOT = Path(__file__).parents[3]


def settings(folder: Path | None, **changes: object) -> BackendSettings:
    folders = () if folder is None else (folder,)
    return BackendSettings(model_dirs=folders, embedded=folder is None, threads=THREADS, device="cpu", **changes)


async def started(folder: Path | None, **changes: object) -> tuple[Backend, dict[str, ServedModel]]:
    backend = open_backend("tensorflow", settings(folder, **changes))
    return backend, {model.name: model for model in await backend.start()}


async def first_label(backend: Backend, model: str, body: bytes) -> str:
    answer = await backend.answer(Call(model, "POST", f"/inference/{model}?top=1", (), body))
    return str(json.loads(answer.body)["predictions"][0]["label"])


def rewrite(folder: Path, *changes: tuple[str, str]) -> None:
    """Changes texts of a description."""
    file = folder / "model.toml"
    text = file.read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


def colour(index: int) -> bytes:
    pixels = np.zeros((9, 7, 3), np.uint8)
    pixels[..., index] = 255
    return pictures.encoded(".png", pixels)


@pytest.mark.parametrize("write", [networks.write_frozen, networks.write_saved_model, networks.write_keras])
@pytest.mark.parametrize("changes", [{}, {"xla": True, "slots": 2}], ids=["plain", "xla"])
async def test_each_format_answers(tmp_path: Path, write: Callable[[Path], Path], changes: dict[str, object]) -> None:
    """A network that answers the mean of each colour says which colour a picture has; compiled or not."""
    backend, models = await started(write(tmp_path / "colours"), **changes)
    assert models["colours"].failure == ""
    assert models["colours"].metadata["device"] == "cpu"
    labels = await asyncio.gather(*[first_label(backend, "colours", colour(index)) for index in range(3)])
    assert labels == ["red", "green", "blue"]
    await backend.close()


@pytest.mark.parametrize("write", [networks.write_frozen, networks.write_saved_model, networks.write_keras])
async def test_names_may_be_left_out(tmp_path: Path, write: Callable[..., Path]) -> None:
    """Of a network with one input and one output."""
    folder = write(tmp_path / "colours")
    rewrite(folder, ('"picture"', '""'), ('"means"', '""'))
    backend, models = await started(folder)
    assert models["colours"].failure == ""
    await backend.close()


async def test_channels_first_are_given_in_order(tmp_path: Path) -> None:
    """A network made for [N, 3, height, width] gets that; on the processor not every kernel takes it, a mean does."""
    backend, models = await started(networks.write_keras(tmp_path / "colours", layout="NCHW"))
    assert models["colours"].failure == ""
    assert await first_label(backend, "colours", colour(2)) == "blue"
    await backend.close()


async def test_a_broken_model_leaves_the_others_alone(tmp_path: Path) -> None:
    """Each way to be broken names the file and the reason, and the sound model among them answers."""
    frozen = networks.write_frozen
    frozen(tmp_path / "sound")
    for broken, content in {"junk": b"not a network", "empty": b"", "fancy": networks.unknown_operation()}.items():
        networks.write_model(tmp_path / broken, content, "NHWC", format='format = "tf-frozen"')
    for kind in ("keras", "onnx"):
        networks.write_model(tmp_path / kind, b"junk", "NHWC", format=f'format = "{kind}"')
    cut = frozen(tmp_path / "cut") / "colours.onnx"
    cut.write_bytes(cut.read_bytes()[:-5])
    frozen(tmp_path / "labels", names='names = ["red", "green"]')
    saved = networks.write_saved_model(tmp_path / "saved")
    (saved / "saved" / "saved_model.pb").unlink()
    for broken in ("sound", "junk", "empty", "fancy", "keras", "onnx", "cut", "labels", "saved"):
        rewrite(tmp_path / broken, ('"colours"', f'"{broken}"'))
    for side, broken in {"picture": "input", "means": "output"}.items():
        rewrite(frozen(tmp_path / broken), (f'"{side}"', '"nonsense"'), ('"colours"', f'"{broken}"'))
    backend, models = await started(tmp_path)
    assert await first_label(backend, "sound", colour(0)) == "red"
    await backend.close()
    reasons = {one.name: one.failure for one in models.values()}
    assert reasons.pop("sound") == ""
    for broken, reason in {
        "junk": "no GraphDef",
        "empty": "input.name = 'picture': the network's inputs are",
        "fancy": "Op type not registered 'FancyNewLayer'",
        "keras": "keras",
        "onnx": "format = 'onnx': tensorflow loads tf-frozen, saved-model, keras",
        "cut": "its SHA-256 is",
        "labels": "the network gives 3 numbers, but there are 2 labels",
        "saved": "its SHA-256 is",
        "input": "input.name = 'nonsense': the network's inputs are picture",
        "output": "output.name = 'nonsense': the network's outputs are means",
    }.items():
        failure = reasons.pop(broken)
        assert failure.startswith(str(tmp_path / broken)), failure
        assert reason in failure
    assert not reasons


@pytest.mark.parametrize("write", [networks.write_saved_model, networks.write_keras])
async def test_a_name_that_is_not_there_is_told_with_those_that_are(tmp_path: Path, write: Callable[..., Path]) -> None:
    """For the formats whose names TensorFlow knows as a list."""
    for side in ("picture", "means"):
        rewrite(write(tmp_path / side), (f'"{side}"', '"nonsense"'), ('"colours"', f'"{side}"'))
    backend, models = await started(tmp_path)
    await backend.close()
    assert "input.name = 'nonsense': the network's inputs are picture" in models["picture"].failure
    assert "output.name = 'nonsense': the network's outputs are means" in models["means"].failure


def test_a_batch_of_another_shape_fails_and_the_next_does_not() -> None:
    """TensorFlow would answer it, with nonsense."""
    from edge_worker.backends.tensorflow import TensorFlowLoader

    model = read_model(EMBEDDED)
    assert model.spec is not None
    engine = TensorFlowLoader(settings(None)).load(model.spec, (EMBEDDED / "digits.pb").read_bytes())
    with pytest.raises(BackendFailed, match=r"a batch of \(8, 8, 3\)"):
        engine.predict(np.zeros((1, 8, 8, 3), np.float32))
    assert engine.predict(np.zeros((2, 8, 8, 1), np.float32)).shape == (2, 10)


def test_no_memory_left_is_a_failure_with_its_reason() -> None:
    """A batch that the device has no room for fails with that reason; nothing else does."""
    import tensorflow as tf

    from edge_worker.backends.tensorflow import TensorFlowNet

    def run(batch: object) -> object:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[8,224,224,64]")

    model = read_model(EMBEDDED)
    assert model.spec is not None
    with pytest.raises(BackendFailed, match=r"out of memory with a batch of 8: OOM when allocating"):
        TensorFlowNet(run, model.spec).predict(np.zeros((8, 8, 8, 1), np.float32))


def test_without_a_gpu_there_is_one_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It has the reason that TensorFlow logged, and operators see it too; --require-gpu and --device stop with it."""
    import tensorflow as tf

    from edge_worker.backends.tensorflow import TensorFlowLoader

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    said = ["oneDNN custom operations are on", "Could not find cuda drivers on your machine, GPU will not be used."]
    loader = TensorFlowLoader(BackendSettings(mixed_precision=False), said)
    with caplog.at_level(logging.WARNING):
        loader.prepare(THREADS)
    assert [record.getMessage() for record in caplog.records] == ["computing on the processor: there is no GPU"]
    assert loader.describe() == {"device": "cpu", "no_gpu": said[1]}
    for refused in (BackendSettings(require_gpu=True), BackendSettings(device="gpu:0")):
        with pytest.raises(ValueError, match="there is no GPU, and one is required: Could not find cuda drivers"):
            TensorFlowLoader(refused, said).prepare(THREADS)


def test_a_chosen_gpu_is_the_only_one_and_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device that is named is made visible, alone, with memory growth; one that is not there is refused."""
    import tensorflow as tf

    from edge_worker.backends.tensorflow import TensorFlowLoader

    calls: list[object] = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["first", "second"])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda device, kind: calls.append(device))
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda *growth: calls.append(growth))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: {"device_name": f"the {device}"})
    loader = TensorFlowLoader(BackendSettings(device="gpu:1", require_gpu=True))
    loader.prepare(THREADS)
    assert calls == ["second", ("second", True)]
    assert loader.describe() == {"device": "gpu:1", "device_name": "the second"}
    with pytest.raises(ValueError, match=r"device = gpu:2: TensorFlow finds 2, counted from gpu:0"):
        TensorFlowLoader(BackendSettings(device="gpu:2")).prepare(THREADS)


def test_a_worker_that_must_have_a_gpu_stops_at_once_without() -> None:
    """The command ends with status 2 and the reason out of TensorFlow's own log, before anything is dialled."""
    command = [sys.executable, "-m", "edge_worker", "connect", "--backend", "tensorflow", "--require-gpu"]
    command += ["--gateway", "wss://gateway.invalid", "--name", "w"]
    environment = {**os.environ, "TOKEN": "t", "CUDA_VISIBLE_DEVICES": "-1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 2, run.stderr
    assert "edge-worker: there is no GPU, and one is required: " in run.stderr
    assert "gives no reason" not in run.stderr
