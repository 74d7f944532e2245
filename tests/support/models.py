"""Writes model folders for tests: a description, a network file and its checksum."""

from __future__ import annotations

import hashlib
from pathlib import Path

DESCRIPTION = """
name = "colours"
version = "3"
file = "colours.onnx"
sha256 = "{sha256}"
format = "onnx"
weights = "made by hand"

[input]
name = "picture"
layout = "{layout}"
width = 6
height = 4
colour = "RGB"
mean = 0
scale = 0.1
resize = "stretch"
interpolation = "area"

[output]
name = "means"
softmax = false

[labels]
names = ["red", "green", "blue"]
"""


def write_model(folder: Path, content: bytes = b"network", layout: str = "NCHW", **changes: str) -> Path:
    """A model folder that is right, but for `changes`: text that is replaced in its description."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "colours.onnx").write_bytes(content)
    text = DESCRIPTION.format(sha256=hashlib.sha256(content).hexdigest(), layout=layout)
    for key, line in changes.items():
        kept = [line if old.startswith(f"{key} =") else old for old in text.splitlines()]
        assert line in kept, key
        text = "\n".join(kept)
    (folder / "model.toml").write_text(text, encoding="utf-8")
    return folder
