"""The real model on real photographs, straight through the backend."""

from __future__ import annotations

import json
from pathlib import Path

from edge_worker.backends.base import Call
from edge_worker.backends.factory import open_backend
from edge_worker.backends.settings import BackendSettings
from tests.support import data

RIGHT = 56
SAME = 62
"""Of 64: right at top-1, and the same top-1 as in labels.csv."""


async def test_the_photographs_are_answered_as_they_were_measured() -> None:
    """A folder without a model.toml, whose description is shipped, answers 64 photographs as labels.csv says."""
    photographs = data.photographs()
    backend = open_backend("opencv_dnn", BackendSettings(slots=2, threads=1, model_dirs=(data.model_dir(),)))
    models = await backend.start()
    assert {model.name: model.failure for model in models} == {"mobilenet_v2": "", "digits": ""}
    right = same = 0
    for photograph in photographs:
        call = Call("mobilenet_v2", "POST", "/inference/mobilenet_v2?top=1", (), photograph.path.read_bytes())
        (prediction,) = json.loads((await backend.answer(call)).body)["predictions"]
        right += prediction["index"] == photograph.class_index
        same += prediction["index"] == photograph.model_index
    await backend.close()
    assert (right >= RIGHT, same >= SAME) == (True, True), f"{right} right, {same} same, of {len(photographs)}"


async def test_one_model_folder_is_a_model_dir_too() -> None:
    """`--model-dir` may be the folder of one model."""
    folder: Path = data.model_dir() / "mobilenet_v2"
    backend = open_backend("opencv_dnn", BackendSettings(model_dirs=(folder,), embedded=False))
    assert [(model.name, model.failure) for model in await backend.start()] == [("mobilenet_v2", "")]
    await backend.close()
