"""What the embedded digit classifier is worth, on the pictures it was not trained with."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from edge_worker.backends.base import Call
from edge_worker.backends.factory import open_backend
from edge_worker.backends.opencv_dnn import OpenCVLoader
from edge_worker.backends.preprocess import to_batch
from edge_worker.backends.settings import BackendSettings
from edge_worker.models.registry import EMBEDDED, read_model
from tests.support import pictures

SEED, HELD_OUT = 20240229, 0.2  # of train.py
GRAPH = (EMBEDDED / "digits.pb").read_bytes()


def held_out() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pictures [N, 8, 8] from 0 to 255 and their digits: the split that train.py does not learn from."""
    digits = load_digits()
    _, images, _, labels = train_test_split(
        digits.images, digits.target, test_size=HELD_OUT, random_state=SEED, stratify=digits.target
    )
    return np.rint(images * (255 / 16)).astype(np.uint8), labels


def answers(images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Probabilities [N, 10], by way of the model's own preprocessing."""
    model = read_model(EMBEDDED)
    assert model.spec is not None
    spec = model.spec.input
    batch = np.concatenate([to_batch(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), spec) for image in images])
    return OpenCVLoader().load(model.spec, GRAPH).predict(batch)


def test_the_split_is_the_one_of_the_script() -> None:
    """The numbers here are those of train.py."""
    script = (EMBEDDED / "train.py").read_text(encoding="utf-8")
    assert f"SEED = {SEED}\n" in script
    assert f"HELD_OUT = {HELD_OUT}\n" in script


def test_it_is_right_on_the_held_out_split() -> None:
    """At least 97 in a hundred of the pictures that it has not seen."""
    images, labels = held_out()
    assert (answers(list(images)).argmax(axis=1) == labels).mean() >= 0.97


@pytest.mark.parametrize("side_px", [32, 100, 500])
def test_it_is_right_on_larger_pictures_of_digits(side_px: int) -> None:
    """Smoothly enlarged, as a drawing program or a camera would have them."""
    images, labels = held_out()
    large = [cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_CUBIC) for image in images]
    assert (answers(large).argmax(axis=1) == labels).mean() >= 0.97


def test_it_is_right_on_dark_ink_on_light_paper() -> None:
    """A photograph of a note is the other way round than the training set."""
    images, labels = held_out()
    assert (answers([255 - image for image in images]).argmax(axis=1) == labels).mean() >= 0.95


async def test_a_photograph_of_a_digit_is_read() -> None:
    """A large JPEG in colour, decoded at an eighth and averaged to 8x8, is still the digit."""
    sample = cv2.imread(str(EMBEDDED / "samples" / "digit-4.png"), cv2.IMREAD_GRAYSCALE)
    ink = 1.0 - cv2.resize(sample, (1600, 1600), interpolation=cv2.INTER_LINEAR) / 255.0
    photograph = (np.array([250, 240, 220]) * (0.15 + 0.85 * ink[..., None])).astype(np.uint8)
    backend = open_backend("opencv_dnn", BackendSettings())
    await backend.start()
    answer = await backend.answer(Call("digits", "POST", "/inference/digits", (), pictures.encoded(".jpg", photograph)))
    await backend.close()
    assert json.loads(answer.body)["predictions"][0]["label"] == "4"


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="tensorflow is not installed (pip install '.[tensorflow]'): the two engines are not compared",
)
def test_tensorflow_and_opencv_give_the_same_answers(tmp_path: Path) -> None:
    """The same graph and batch differ by less than 1e-5 between the engines."""
    images, _ = held_out()
    batch = (images[..., None] / np.float32(255)).astype(np.float32)
    np.save(tmp_path / "batch.npy", batch)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    script = (
        "import sys, numpy as np, tensorflow as tf\n"
        "graph = tf.Graph()\n"
        "with graph.as_default(), open(sys.argv[1], 'rb') as file:\n"
        "    tf.import_graph_def(tf.compat.v1.GraphDef.FromString(file.read()), name='')\n"
        "with tf.compat.v1.Session(graph=graph) as session:\n"
        "    out = session.run('probabilities:0', {'image:0': np.load(sys.argv[2] + '/batch.npy')})\n"
        "np.save(sys.argv[2] + '/out.npy', out)\n"
    )
    command = [sys.executable, "-c", script, str(EMBEDDED / "digits.pb"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    theirs = np.load(tmp_path / "out.npy")
    assert np.abs(answers(list(images)) - theirs).max() < 1e-5
