"""Random weights, and Keras's models as frozen graphs: both engines give one answer, which tells pictures apart."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from pathlib import Path

import pytest

from edge_worker.models.catalogue import RemoteFile, known_model
from edge_worker.models.progress import Lines
from edge_worker.models.pull import IMAGENET, Order, PullFailed, pull
from edge_worker.models.registry import read_model
from edge_worker.models.spec import RANDOM
from tests.edge_worker.backends.test_engines_agree import LARGEST_DIFFERENCE, probabilities
from tests.support.file_server import FileServer
from tests.support.networks import THREADS, needs_tensorflow

pytestmark = [
    needs_tensorflow,
    # Keras saves a model with a call that NumPy 2 warns of
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def threads() -> None:
    """What TensorFlow takes once in a process, as the tests of the backends set it."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four pictures with little in common."""
    import cv2
    import numpy as np

    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(3)
    for number in range(4):
        small = rng.integers(0, 256, (4 + 3 * number, 5, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(small, (320, 240), interpolation=cv2.INTER_CUBIC))
    return sorted(folder.iterdir())


def made(name: str, folder: Path, **changes: object) -> Path:
    order = Order(known_model(name), RANDOM, 7, "tf-frozen", None, folder)
    return pull(dataclasses.replace(order, **changes), Lines(io.StringIO()))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["googlenet", "mobilenet_v2"])
async def test_both_engines_give_one_answer(name: str, tmp_path: Path, photographs: list[Path]) -> None:
    """The same first label and no probability that differs by over 1e-4; each picture has an answer of its own."""
    folder = made(name, tmp_path)
    ours = await probabilities("opencv_dnn", name, photographs, folder)
    theirs = await probabilities("tensorflow", name, photographs, folder)
    assert ours.shape == (4, known_model(name).classes)
    assert abs(ours - theirs).max() <= LARGEST_DIFFERENCE
    assert ours.argmax(axis=1).tolist() == theirs.argmax(axis=1).tolist()
    assert len(set(ours.argmax(axis=1).tolist())) >= 3
    assert ours.max() > 5 * ours.mean()


def test_a_seed_means_one_network(tmp_path: Path) -> None:
    """The same bytes for the same seed, others for another."""
    (first, again, other) = (
        read_model(made("googlenet", tmp_path / str(number), seed=seed)) for number, seed in enumerate((7, 7, 8))
    )
    assert first.spec is not None
    assert again.spec is not None
    assert other.spec is not None
    assert first.spec == again.spec
    assert first.spec.sha256 != other.spec.sha256


async def test_a_keras_file_is_served_by_tensorflow(tmp_path: Path, photographs: list[Path]) -> None:
    """The other format of the same model, with the same answers: freezing and folding change rounding alone."""
    frozen = await probabilities("tensorflow", "mobilenet_v2", photographs, made("mobilenet_v2", tmp_path / "frozen"))
    folder = made("mobilenet_v2", tmp_path / "keras", format="keras")
    assert abs(await probabilities("tensorflow", "mobilenet_v2", photographs, folder) - frozen).max() <= 1e-5


def published_weights(tmp_path: Path) -> bytes:
    """A file of weights as Keras publishes them, but for their values."""
    from edge_worker.models.networks import random

    model = random("MobileNetV2", 1, (127.5,) * 3, (1 / 127.5,) * 3)
    path = tmp_path / "mobilenet.weights.h5"
    model.save_weights(path)
    return path.read_bytes()


async def test_published_weights_are_downloaded_and_built(
    published: FileServer, tmp_path: Path, photographs: list[Path]
) -> None:
    """Weights and class list from a server become a model with Keras's labels, which OpenCV answers for."""
    weights = published_weights(tmp_path)
    classes = json.dumps({str(number): [f"n{number}", f"class_{number}"] for number in range(1000)}).encode()
    published.files = {"mobilenet.weights.h5": weights, "imagenet_class_index.json": classes}
    model = dataclasses.replace(
        known_model("mobilenet_v2"),
        weights=RemoteFile(f"{published.url}/mobilenet.weights.h5", ""),
        labels=RemoteFile(
            f"{published.url}/imagenet_class_index.json",
            f"md5:{hashlib.md5(classes, usedforsecurity=False).hexdigest()}",
        ),
    )
    folder = made("mobilenet_v2", tmp_path / "models", model=model, weights=IMAGENET)
    found = read_model(folder)
    assert found.spec is not None
    assert found.labels[999] == "class 999"
    assert found.spec.version == "imagenet-1"
    assert not found.spec.has_random_weights
    same = made("mobilenet_v2", tmp_path / "same", seed=1)
    ours = await probabilities("opencv_dnn", "mobilenet_v2", photographs, folder)
    assert abs(ours - await probabilities("opencv_dnn", "mobilenet_v2", photographs, same)).max() == 0


def test_a_broken_file_of_weights_is_named(tmp_path: Path) -> None:
    """Keras cannot read it: which file and why, and nothing is installed."""
    (tmp_path / "imagenet_class_index.json").write_bytes(b"{}")
    name = known_model("mobilenet_v2").weights.name
    (tmp_path / name).write_bytes(b"no HDF5")
    classes = RemoteFile("https://localhost:1/imagenet_class_index.json", "")
    model = dataclasses.replace(known_model("mobilenet_v2"), labels=classes, classes=0)
    with pytest.raises(PullFailed, match=f"{name}: Keras cannot read MobileNetV2 weights from it"):
        made("mobilenet_v2", tmp_path / "models", model=model, weights=IMAGENET, source=tmp_path)
    assert not (tmp_path / "models" / "mobilenet_v2").exists()


@pytest.mark.parametrize("name", ["inception_v3", "mobilenet_v2", "resnet50", "xception"])
def test_addresses_and_checksums_are_those_of_keras(name: str) -> None:
    """The installed Keras has the same: an update that moves them is seen here."""
    import inspect

    from keras.src.applications import imagenet_utils, inception_v3, mobilenet_v2, resnet, xception

    model = known_model(name)
    module = {"inception_v3": inception_v3, "mobilenet_v2": mobilenet_v2, "resnet50": resnet, "xception": xception}[
        name
    ]
    source = inspect.getsource(module).replace('"\n    "', "")
    assert model.weights.url.rpartition("/")[0] in source
    assert model.weights.checksum.removeprefix("md5:") in source
    assert model.labels is not None
    assert model.labels.url == imagenet_utils.CLASS_INDEX_PATH
    assert model.labels.checksum.removeprefix("md5:") in inspect.getsource(imagenet_utils)
