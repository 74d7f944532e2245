"""What a `model.toml` may say, as frozen values: the description of one model and of the pictures it takes.

Reads and checks text only: it opens no model file and imports no engine, so that a description can be refused before
anything heavy is loaded. Every refusal names the field in full, its value and what is allowed.
The reference for people is docs/reference/models.md.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_worker.batch_rules import MAX_BATCH, MAX_WAIT_US, BatchRule
from edge_worker.models.groups import MAX_GROUPS, parse_indices

FORMATS = ("tf-frozen", "onnx", "saved-model", "keras")
ENGINES: Mapping[str, tuple[str, ...]] = {
    "tf-frozen": ("opencv_dnn", "tensorflow"),
    "onnx": ("opencv_dnn",),
    "saved-model": ("tensorflow",),
    "keras": ("tensorflow",),
}
"""The backends that load each format."""
FOLDER_FORMATS = ("saved-model",)
"""Those whose `file` is a folder."""
LAYOUTS = ("NHWC", "NCHW")
COLOURS = ("RGB", "BGR", "GRAY")
RESIZES = ("stretch", "crop")
INTERPOLATIONS = ("area", "bilinear")

MAX_SIDE_PX = 8192
"""The largest input side: four times that of the largest image models in use, and still a bounded allocation."""
MAX_LABELS = 1_000_000
RANDOM = "random"
"""How `weights` begins for a network that was never trained: `random (seed 7)`."""
MAX_TEXT = 1000
"""Characters of any text in a description: it travels in the worker's HELLO and into log lines."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class SpecError(ValueError):
    """A description that cannot be used; the message names the field, its value and what is allowed."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How a picture becomes the network's input: value = (pixel - mean) * scale, for each channel."""

    name: str
    """The input's name in the network; empty for its only one."""
    layout: str
    """NHWC or NCHW: how the network was made, so also the shape that a ready tensor has."""
    width: int
    height: int
    """Pixels."""
    colour: str
    """The order of the channels: RGB, BGR, or GRAY for one channel."""
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    """One number a channel, in the order of `colour`. A pixel counts 0 to 255."""
    resize: str
    """stretch: both sides are scaled to the input's. crop: the largest centred part of the input's proportions is."""
    interpolation: str
    """area (averages what is made smaller) or bilinear."""

    @property
    def channels(self) -> int:
        return 1 if self.colour == "GRAY" else 3

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape in `layout`; -1 stands for the batch."""
        if self.layout == "NHWC":
            return (-1, self.height, self.width, self.channels)
        return (-1, self.channels, self.height, self.width)


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """What comes out: one number a class."""

    name: str
    """The output's name in the network; empty for its only one."""
    softmax: bool
    """True: the network ends in a softmax, its outputs are probabilities. False: the worker applies one."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model.toml."""

    name: str
    version: str
    file: str
    """The network's file, in the same folder; for a saved-model a folder."""
    sha256: str
    """Of that file, 64 lower-case hexadecimal digits; of a folder see registry.folder_sha256."""
    format: str
    weights: str
    """Where the weights are from and under which licence; empty if not said. See `has_random_weights`."""
    input: InputSpec
    output: OutputSpec
    labels_file: str
    """Line n, from 0, names output n. Empty when `labels` holds them."""
    labels: tuple[str, ...]
    """The labels written in the description itself; empty when `labels_file` names a file."""
    batching: BatchRule = field(default_factory=BatchRule)
    """Whether and how its calls are put together, where the worker's own setting leaves it to the model."""
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Classes that a client may ask for by one name (`?query=NAME`): label indices, ascending, each once."""

    @property
    def has_random_weights(self) -> bool:
        """True for a network made to measure with: its answers mean nothing, and say so."""
        return self.weights.startswith(RANDOM)


def parse_spec(text: str) -> ModelSpec:
    """Reads the text of a model.toml. Raises SpecError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"is not TOML: {error}") from error
    root = _Table(document, "")
    root.only(_ROOT_KEYS)
    labels = root.table("labels", ("file", "names"))
    spec = ModelSpec(
        name=root.matching("name", _NAME, "letters, digits, '.', '_' and '-', up to 100, the first a letter or digit"),
        version=root.matching("version", _NAME, "letters, digits, '.', '_' and '-', up to 100"),
        file=root.matching("file", _FILE, "the name of a file in the model's own folder"),
        sha256=root.matching("sha256", _SHA256, "64 lower-case hexadecimal digits"),
        format=root.one_of("format", FORMATS),
        weights=root.text("weights", default=""),
        input=_parse_input(root.table("input", _INPUT_KEYS)),
        output=_parse_output(root.table("output", ("name", "softmax"))),
        labels_file=labels.matching("file", _FILE, "the name of a file in the model's own folder", default=""),
        labels=labels.texts("names"),
        batching=_parse_batching(root.table("batching", ("max_batch", "max_wait_us"), default={})),
        groups=root.groups("groups"),
    )
    if bool(spec.labels_file) == bool(spec.labels):
        raise SpecError("[labels]: exactly one of labels.file and labels.names must be given")
    return spec


_ROOT_KEYS = (
    *("name", "version", "file", "sha256", "format", "weights"),
    *("input", "output", "labels", "batching", "groups"),
)
_INPUT_KEYS = ("name", "layout", "width", "height", "colour", "mean", "scale", "resize", "interpolation")


def _parse_input(table: _Table) -> InputSpec:
    colour = table.one_of("colour", COLOURS)
    channels = 1 if colour == "GRAY" else 3
    scale = table.numbers("scale", channels)
    if 0.0 in scale:
        raise SpecError(f"input.scale = {table.shown('scale')}: must not be 0, or every picture would look the same")
    return InputSpec(
        name=table.text("name", default=""),
        layout=table.one_of("layout", LAYOUTS),
        width=table.side("width"),
        height=table.side("height"),
        colour=colour,
        mean=table.numbers("mean", channels),
        scale=scale,
        resize=table.one_of("resize", RESIZES, default="stretch"),
        interpolation=table.one_of("interpolation", INTERPOLATIONS, default="area"),
    )


def _parse_batching(table: _Table) -> BatchRule:
    return BatchRule(table.whole("max_batch", 1, MAX_BATCH, 1), table.whole("max_wait_us", 0, MAX_WAIT_US, 0))


def _parse_output(table: _Table) -> OutputSpec:
    return OutputSpec(name=table.text("name", default=""), softmax=table.flag("softmax"))


class _Table:
    """One table of the document, read by field; knows its own full name for the messages."""

    def __init__(self, values: Mapping[str, Any], path: str) -> None:  # Any: what TOML holds, until it is checked
        self._values = values
        self._path = path

    def only(self, known: tuple[str, ...]) -> None:
        """Refuses a key that is not known, and offers the nearest one that is."""
        for key in self._values:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {self._path}{near[0]}?" if near else f"there are {', '.join(known)}"
                raise SpecError(f"{self._path}{key[:80]}: no such field; {hint}")

    def table(self, key: str, known: tuple[str, ...], default: Mapping[str, Any] | None = None) -> _Table:
        value = self._values.get(key, default)
        if not isinstance(value, Mapping):
            raise SpecError(f"[{key}]: this table is missing")
        table = _Table(value, f"{self._path}{key}.")
        table.only(known)
        return table

    def shown(self, key: str) -> str:
        shown = repr(self._values.get(key))
        return shown if len(shown) <= 80 else f"{shown[:77]}..."

    def refusal(self, key: str, allowed: str) -> SpecError:
        if key not in self._values:
            return SpecError(f"{self._path}{key}: is missing; must be {allowed}")
        return SpecError(f"{self._path}{key} = {self.shown(key)}: must be {allowed}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self._values.get(key, default)
        if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
            raise self.refusal(key, f"a text of one line, up to {MAX_TEXT} characters")
        return value

    def matching(self, key: str, pattern: re.Pattern[str], allowed: str, default: str | None = None) -> str:
        value = self._values.get(key, default)
        if isinstance(value, str) and (pattern.fullmatch(value) or key not in self._values):
            return value
        raise self.refusal(key, allowed)

    def one_of(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        value = self._values.get(key, default)
        if isinstance(value, str) and value in allowed:
            return value
        raise self.refusal(key, f"one of {', '.join(allowed)}")

    def side(self, key: str) -> int:
        value = self._values.get(key)
        if type(value) is int and 1 <= value <= MAX_SIDE_PX:
            return value
        raise self.refusal(key, f"a whole number of pixels from 1 to {MAX_SIDE_PX}")

    def whole(self, key: str, low: int, high: int, default: int) -> int:
        value = self._values.get(key, default)
        if type(value) is int and low <= value <= high:
            return value
        raise self.refusal(key, f"a whole number from {low} to {high}")

    def flag(self, key: str) -> bool:
        value = self._values.get(key)
        if isinstance(value, bool):
            return value
        raise self.refusal(key, "true or false")

    def numbers(self, key: str, channels: int) -> tuple[float, ...]:
        """One number for all channels, or a list with one a channel."""
        value = self._values.get(key)
        items: list[Any] = value if isinstance(value, list) else [value] * channels
        if len(items) == channels and all(type(item) in (int, float) and math.isfinite(item) for item in items):
            return tuple(float(item) for item in items)
        raise self.refusal(key, "a number" if channels == 1 else "a number, or a list of 3 (one a channel)")

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._values.get(key, [])
        if isinstance(value, list) and len(value) <= MAX_LABELS and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise self.refusal(key, f"a list of texts, up to {MAX_LABELS}")

    def groups(self, key: str) -> dict[str, tuple[int, ...]]:
        """A table of lists of indices, its keys free. All together name at most MAX_LABELS classes."""
        table = self._values.get(key, {})
        if not isinstance(table, Mapping) or len(table) > MAX_GROUPS:
            raise self.refusal(key, f"a table of at most {MAX_GROUPS} groups")
        groups: dict[str, tuple[int, ...]] = {}
        left = MAX_LABELS
        for name, written in table.items():
            if not _NAME.fullmatch(name):
                raise SpecError(f"{key}.{name[:80]}: a group's name is letters, digits, '.', '_' and '-', up to 100")
            try:
                groups[name] = parse_indices(written, most=MAX_LABELS)
            except ValueError as error:
                raise SpecError(f"{key}.{name} = {written!r:.80}: {error}") from error
            left -= len(groups[name])
            if left < 0:
                raise SpecError(f"[{key}]: all groups together name over {MAX_LABELS} classes")
        return groups
