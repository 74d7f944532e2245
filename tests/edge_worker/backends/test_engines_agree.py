"""One model, two engines: whichever a worker has, the answer is the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_worker.backends.base import Call
from edge_worker.backends.factory import open_backend
from edge_worker.backends.settings import BackendSettings
from edge_worker.models.registry import EMBEDDED
from tests.support import data
from tests.support.networks import THREADS, needs_tensorflow

pytestmark = needs_tensorflow

LARGEST_DIFFERENCE = 1e-4
"""Of a probability, over all classes and pictures."""


async def probabilities(
    backend_name: str, model: str, pictures: Sequence[Path], folder: Path | None
) -> NDArray[np.float64]:
    """[pictures, classes], by way of the whole backend: decode, preprocess, network, JSON."""
    folders = () if folder is None else (folder,)
    settings = BackendSettings(threads=THREADS, model_dirs=folders, embedded=folder is None, device="cpu")
    backend = open_backend(backend_name, settings)
    (served,) = await backend.start()
    assert (served.name, served.failure) == (model, "")
    rows = []
    for picture in pictures:
        call = Call(model, "POST", f"/inference/{model}?top=100000", (), picture.read_bytes())
        predictions = json.loads((await backend.answer(call)).body)["predictions"]
        rows.append([one["probability"] for one in sorted(predictions, key=lambda one: int(one["index"]))])
    await backend.close()
    return np.array(rows)


async def assert_engines_agree(model: str, pictures: Sequence[Path], folder: Path | None) -> None:
    ours = await probabilities("opencv_dnn", model, pictures, folder)
    theirs = await probabilities("tensorflow", model, pictures, folder)
    assert ours.shape == theirs.shape
    assert ours.argmax(axis=1).tolist() == theirs.argmax(axis=1).tolist()
    assert np.abs(ours - theirs).max() <= LARGEST_DIFFERENCE


async def test_the_embedded_digits_are_answered_alike() -> None:
    """The model that is shipped, and its samples."""
    await assert_engines_agree("digits", sorted((EMBEDDED / "samples").glob("*.png")), None)


async def test_the_photographs_are_answered_alike() -> None:
    """MobileNet v2 and 64 photographs: the same first label, and no probability that differs by over 1e-4."""
    photographs = [photograph.path for photograph in data.photographs()]
    assert len(photographs) == 64
    await assert_engines_agree("mobilenet_v2", photographs, data.model_dir() / "mobilenet_v2")


async def test_another_picture_is_not_answered_alike() -> None:
    """The comparison sees a difference where there is one."""
    one, other = sorted((EMBEDDED / "samples").glob("*.png"))[:2]
    ours = await probabilities("opencv_dnn", "digits", [one], None)
    theirs = await probabilities("tensorflow", "digits", [other], None)
    assert np.abs(ours - theirs).max() > LARGEST_DIFFERENCE
    assert ours.argmax() != theirs.argmax()
