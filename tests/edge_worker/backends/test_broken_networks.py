"""The embedded network, cut off or with a layer that nobody has, whose checksum is right: by each engine."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from edge_worker.backends.base import Call
from edge_worker.backends.factory import open_backend
from edge_worker.backends.settings import BackendSettings
from edge_worker.models.registry import EMBEDDED
from tests.support.networks import THREADS, needs_tensorflow

ENGINES = ["opencv_dnn", pytest.param("tensorflow", marks=needs_tensorflow)]
NETWORK = (EMBEDDED / "digits.pb").read_bytes()


def write(folder: Path, network: bytes, **changes: str) -> None:
    """The embedded model under the folder's name, with another network or other lines in its description."""
    folder.mkdir()
    (folder / "digits.pb").write_bytes(network)
    shutil.copy(EMBEDDED / "labels.txt", folder)
    text = (EMBEDDED / "model.toml").read_text(encoding="utf-8")
    lines = {'name = "digits"': f'name = "{folder.name}"', **changes}
    for old, new in lines.items():
        assert old in text
        text = text.replace(old, new, 1)
    text = re.sub(r'sha256 = ".*"', f'sha256 = "{hashlib.sha256(network).hexdigest()}"', text)
    (folder / "model.toml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("engine", ENGINES)
async def test_each_says_which_file_and_why_and_the_sound_one_answers(engine: str, tmp_path: Path) -> None:
    """Nothing of it waits for the first request: the reason is there before the worker is ready."""
    write(tmp_path / "cut", NETWORK[: len(NETWORK) // 2])
    write(tmp_path / "layer", NETWORK.replace(b"Softmax", b"Unheard"))
    write(tmp_path / "input", NETWORK, **{'name = "image"': 'name = "nonsense"'})
    write(tmp_path / "output", NETWORK, **{'name = "probabilities"': 'name = "nonsense"'})
    write(tmp_path / "labels", NETWORK)
    (tmp_path / "labels" / "labels.txt").write_text("\n".join("abcdefghijk"), encoding="utf-8")
    settings = BackendSettings(model_dirs=(tmp_path,), device="cpu", threads=THREADS)
    backend = open_backend(engine, settings)
    failures = {model.name: model.failure for model in await backend.start()}
    body = (EMBEDDED / "samples" / "digit-7.png").read_bytes()
    answer = await backend.answer(Call("digits", "POST", "/inference/digits?top=1", (), body))
    await backend.close()
    assert json.loads(answer.body)["predictions"][0]["label"] == "7"
    assert failures.pop("digits") == ""
    for name, reason in {
        "layer": "Unheard",
        "input": "nonsense",
        "labels": "the network gives 10 numbers, but there are 11 labels",
        "output": "nonsense",
    }.items():
        assert reason in failures[name]
    assert "GraphDef" in failures["cut"]
    for name, failure in failures.items():
        assert failure.startswith(f"{tmp_path / name / 'digits.pb'}: "), failure
