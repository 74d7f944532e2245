"""What a model.toml may say, and how it is told what it may not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_worker.batch_rules import BatchRule
from edge_worker.models.registry import EMBEDDED, KNOWN
from edge_worker.models.spec import InputSpec, SpecError, parse_spec

TEXT = """\
name = "cats"
version = "1.2"
file = "cats.onnx"
sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
format = "onnx"

[input]
name = "image"
layout = "NCHW"
width = 224
height = 192
colour = "BGR"
mean = [103.94, 116.78, 123.68]
scale = 0.017
resize = "crop"
interpolation = "bilinear"

[output]
softmax = false

[labels]
file = "labels.txt"
"""


def changed(line: str, new: str) -> str:
    """The text with one line replaced (or removed, for an empty one)."""
    assert TEXT.count(f"{line}\n") == 1, line
    return TEXT.replace(f"{line}\n", f"{new}\n" if new else "")


def test_a_description_is_read_into_values() -> None:
    """Every field arrives; one number stands for all channels; what is optional has its default."""
    spec = parse_spec(TEXT)
    assert (spec.name, spec.version, spec.file, spec.format) == ("cats", "1.2", "cats.onnx", "onnx")
    assert (spec.weights, spec.labels_file, spec.labels) == ("", "labels.txt", ())
    assert (spec.output.name, spec.output.softmax) == ("", False)
    assert spec.input == InputSpec(
        name="image",
        layout="NCHW",
        width=224,
        height=192,
        colour="BGR",
        mean=(103.94, 116.78, 123.68),
        scale=(0.017, 0.017, 0.017),
        resize="crop",
        interpolation="bilinear",
    )
    assert spec.input.shape == (-1, 3, 192, 224)


def test_resizing_has_defaults() -> None:
    """Without a word the whole picture is stretched, by area."""
    text = changed('resize = "crop"', "").replace('interpolation = "bilinear"\n', "")
    assert (parse_spec(text).input.resize, parse_spec(text).input.interpolation) == ("stretch", "area")


def test_a_grey_input_has_one_channel() -> None:
    """And its tensor one, wherever the layout puts it."""
    text = changed('colour = "BGR"', 'colour = "GRAY"').replace("[103.94, 116.78, 123.68]", "127.5")
    assert parse_spec(text).input.shape == (-1, 1, 192, 224)
    assert parse_spec(text.replace("NCHW", "NHWC")).input.shape == (-1, 192, 224, 1)


def test_batching_is_off_unless_it_is_asked_for() -> None:
    """A description without the table batches nothing; with it, its two numbers arrive."""
    assert not parse_spec(TEXT).batching.is_on
    assert parse_spec(TEXT + "[batching]\nmax_batch = 8\nmax_wait_us = 500\n").batching == BatchRule(8, 500)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("max_batch = 0", "batching.max_batch = 0: must be a whole number from 1 to 256"),
        ("max_batch = true", "batching.max_batch = True: must be"),
        ("max_wait_us = 1000001", "batching.max_wait_us = 1000001: must be a whole number from 0 to 1000000"),
        ("max_wait_ms = 1", "batching.max_wait_ms: no such field; did you mean batching.max_wait_us?"),
    ],
)
def test_a_mistake_about_batching_is_named(line: str, message: str) -> None:
    """The field in full, its value and what is allowed."""
    with pytest.raises(SpecError) as caught:
        parse_spec(f"{TEXT}[batching]\n{line}\n")
    assert message in str(caught.value)


def test_labels_may_be_written_in_place() -> None:
    """A short list needs no file."""
    assert parse_spec(changed('file = "labels.txt"', 'names = ["cat", "dog"]')).labels == ("cat", "dog")


@pytest.mark.parametrize("path", [EMBEDDED / "model.toml", *sorted(KNOWN.glob("*.toml"))], ids=lambda path: path.stem)
def test_each_description_that_is_shipped_is_right(path: object) -> None:
    """What we ship can be read."""
    assert parse_spec(path.read_text(encoding="utf-8")).sha256  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("line", "new", "message"),
    [
        ('name = "cats"', 'name = "a/b"', "name = 'a/b': must be letters, digits"),
        ('name = "cats"', "name = 3", "name = 3: must be letters"),
        ('name = "cats"', "", "name: is missing; must be letters"),
        ('version = "1.2"', "version = 1.2", "version = 1.2: must be letters"),
        ('file = "cats.onnx"', 'file = "../cats.onnx"', "file = '../cats.onnx': must be the name of a file in the"),
        ('file = "cats.onnx"', 'file = "/etc/passwd"', "file = '/etc/passwd': must be the name of a file in the"),
        ('format = "onnx"', 'format = "tflite"', "format = 'tflite': must be one of tf-frozen, onnx"),
        ('layout = "NCHW"', 'layout = "CHW"', "input.layout = 'CHW': must be one of NHWC, NCHW"),
        ("width = 224", "width = 0", "input.width = 0: must be a whole number of pixels from 1 to 8192"),
        ("width = 224", "width = 224.0", "input.width = 224.0: must be a whole number"),
        ("width = 224", "width = true", "input.width = True: must be a whole number"),
        ("height = 192", "height = 9000", "input.height = 9000: must be a whole number"),
        ('colour = "BGR"', 'colour = "rgb"', "input.colour = 'rgb': must be one of RGB, BGR, GRAY"),
        ("scale = 0.017", "scale = [1, 2]", "input.scale = [1, 2]: must be a number, or a list of 3"),
        ("scale = 0.017", "scale = nan", "input.scale = nan: must be a number"),
        ("scale = 0.017", "scale = 0", "input.scale = 0: must not be 0"),
        ("scale = 0.017", 'scale = "1/255"', "input.scale = '1/255': must be a number"),
        ("scale = 0.017", "", "input.scale: is missing; must be a number"),
        ('resize = "crop"', 'resize = "pad"', "input.resize = 'pad': must be one of stretch, crop"),
        ('interpolation = "bilinear"', 'interpolation = "cubic"', "must be one of area, bilinear"),
        ("softmax = false", "softmax = 0", "output.softmax = 0: must be true or false"),
        ("softmax = false", "softmaxed = false", "output.softmaxed: no such field; did you mean output.softmax?"),
        ('colour = "BGR"', 'color = "BGR"', "input.color: no such field; did you mean input.colour?"),
        ('format = "onnx"', 'format = "onnx"\nspeed = 3', "speed: no such field; there are name, version"),
        ('file = "labels.txt"', 'file = "../labels.txt"', "labels.file = '../labels.txt': must be the name"),
        ('file = "labels.txt"', "names = [1, 2]", "labels.names = [1, 2]: must be a list of texts"),
        ('file = "labels.txt"', "", "exactly one of labels.file and labels.names"),
        ('file = "labels.txt"', 'file = "a"\nnames = ["a"]', "exactly one of labels.file and labels.names"),
        ("[labels]", "[label]", "label: no such field; did you mean labels?"),
        ("[labels]", "[labels", "is not TOML"),
        ('name = "image"', 'name = "two\\nlines"', "input.name = 'two\\nlines': must be a text of one line"),
    ],
)
def test_what_is_wrong_is_named_in_full(line: str, new: str, message: str) -> None:
    """The message has the field, its value and what is allowed."""
    with pytest.raises(SpecError) as caught:
        parse_spec(changed(line, new))
    assert message in str(caught.value)


def test_a_missing_table_is_named() -> None:
    """Each of the three tables must be there."""
    with pytest.raises(SpecError, match=r"\[output\]: this table is missing"):
        parse_spec(TEXT.replace("[output]\nsoftmax = false\n", ""))


@pytest.mark.parametrize("sha256", ["", "0" * 63, "0" * 63 + "G", "0" * 63 + "A"])
def test_a_checksum_is_64_lower_case_digits(sha256: str) -> None:
    """So that a comparison is a comparison of texts."""
    with pytest.raises(SpecError, match=r"sha256 = .*64 lower-case hexadecimal digits"):
        parse_spec(TEXT.replace("0123456789abcdef" * 4, sha256))


def test_a_long_value_is_shown_in_part() -> None:
    """A message is read by a person, whatever the file holds."""
    with pytest.raises(SpecError) as caught:
        parse_spec(changed('format = "onnx"', f'format = "{"x" * 5000}"'))
    assert len(str(caught.value)) < 200


@given(st.text(max_size=300))
def test_any_text_is_a_description_or_a_refusal(text: str) -> None:
    """Nothing but SpecError comes out."""
    with pytest.raises(SpecError):
        parse_spec(text)


@given(
    st.dictionaries(
        st.sampled_from(["name", "version", "file", "sha256", "format", "input", "output", "labels", "x"]),
        st.sampled_from(["1", "[]", "{}", "true", '"a"', '{name = "a", width = 3}', "1979-05-27", "inf", "{a = {}}"]),
    )
)
def test_any_values_are_refused_by_name(values: dict[str, str]) -> None:
    """A field of any type TOML knows is refused with a message, not with an accident."""
    with pytest.raises(SpecError, match=r"must|missing|no such field"):
        parse_spec("\n".join(f"{key} = {value}" for key, value in values.items()))
