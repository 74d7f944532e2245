"""What a call asks: of a picture or a tensor, for labels, numbers, or a yes; and each way to ask wrongly."""

from __future__ import annotations

import dataclasses

import pytest

from edge_worker.backends.base import BadInput, Call
from edge_worker.backends.question import MAX_ROWS, TENSOR, Group, Labels, Question, Raw, read_question
from edge_worker.models.spec import parse_spec
from tests.support.models import DESCRIPTION

SPEC = dataclasses.replace(
    parse_spec(DESCRIPTION.format(sha256="0" * 64, layout="NCHW")), groups={"warm": (0,), "cold": (1, 2)}
)
ROW_BYTES = 3 * 4 * 6 * 4


def ask(query: str = "", body: bytes = b"picture", **metadata: str) -> Question:
    pairs = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
    return read_question(Call("colours", "POST", f"/inference/colours{query}", pairs, body), SPEC)


def tensor(rows: int, query: str = "", **changes: str) -> Question:
    head = {"content_type": TENSOR, "tensor_datatype": "FP32", "tensor_shape": f"{rows},3,4,6"}
    return ask(query, bytes(rows * ROW_BYTES), **head | changes)


def refusal(code: str, ask_wrongly: object) -> str:
    assert callable(ask_wrongly)
    with pytest.raises(BadInput) as caught:
        ask_wrongly()
    assert caught.value.code == code
    return str(caught.value)


def test_five_classes_are_named_by_default() -> None:
    """A path without a query, and a body of whatever image type, is the usual question."""
    assert ask() == ask(content_type="image/png") == Question(Labels(5), tensor_rows=0)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("?top=1", Labels(1)),
        ("?a=b&top=1&top=2", Labels(2)),
        ("?output=raw", Raw()),
        ("?query=cold", Group("cold", (1, 2))),
        ("?top=wrong&query=warm", Group("warm", (0,))),
    ],
)
def test_the_query_says_which_answer(query: str, wanted: object) -> None:
    """The last of several counts; a number of labels means nothing where none are named."""
    assert ask(query).wanted == wanted


@pytest.mark.parametrize("top", ["0", "-1", "1.5", "five", "", "100001", "99999999999999999999", "٣", "1e3"])
def test_a_wrong_number_of_classes_is_refused(top: str) -> None:
    """The message has the value and what is allowed."""
    text = refusal("bad_request", lambda: ask(f"?top={top}"))
    assert text == f"top = {top!r}: must be a whole number from 1 to 100000"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("?output=json", "output = 'json': must be raw, or left out for labels"),
        ("?output=raw&query=warm", "output and query are two kinds of answer: give one of them"),
        ("?query=", "query = '': is not a group of labels; there are warm, cold"),
        ("?query=COLD", "query = 'COLD': is not a group of labels; there are warm, cold"),
    ],
)
def test_an_answer_that_there_is_not(query: str, text: str) -> None:
    """Says which there are."""
    assert refusal("bad_request", lambda: ask(query)) == text


def test_a_model_without_groups_says_so() -> None:
    """There is nothing to choose from."""
    call = Call("colours", "POST", "/inference/colours?query=cat", (), b"")
    text = refusal("bad_request", lambda: read_question(call, dataclasses.replace(SPEC, groups={})))
    assert text == "query = 'cat': is not a group of labels; this model has none"


@pytest.mark.parametrize("rows", [1, 2, MAX_ROWS])
def test_a_tensor_is_counted(rows: int) -> None:
    """In the network's own shape, up to the largest; a name's and a type's case means nothing."""
    assert tensor(rows, "?output=raw") == Question(Raw(), rows)
    assert tensor(rows, "?output=raw", content_type=TENSOR.upper() + "; a=b").tensor_rows == rows


def test_one_picture_as_a_tensor_may_ask_for_anything() -> None:
    """As a file may."""
    assert tensor(1) == Question(Labels(5), 1)
    assert tensor(1, "?query=warm") == Question(Group("warm", (0,)), 1)


@pytest.mark.parametrize("query", ["", "?top=2", "?query=warm"])
def test_several_pictures_are_answered_with_numbers_only(query: str) -> None:
    """There is no JSON for several."""
    text = refusal("bad_request", lambda: tensor(2, query))
    assert text == "a tensor of 2 pictures is answered with output=raw only"


@pytest.mark.parametrize("datatype", ["FP16", "fp32", ""])
def test_a_tensor_of_another_type_is_refused(datatype: str) -> None:
    """Also one that does not say."""
    text = refusal("bad_input", lambda: tensor(1, tensor_datatype=datatype))
    assert text == f"tensor-datatype = {datatype!r}: the input 'picture' takes FP32"


@pytest.mark.parametrize(
    "shape",
    ["0,3,4,6", "257,3,4,6", "1,4,6,3", "3,4,6", "1,3,4", "1,3,4,6,1", "-1,3,4,6", "1, 3,4,6", "1,3,4,6,", "", "1"],
)
def test_a_tensor_of_another_shape_is_refused(shape: str) -> None:
    """The message has the one that came and the one that is taken."""
    text = refusal("bad_input", lambda: tensor(1, "?output=raw", tensor_shape=shape))
    assert text == f"tensor-shape = {shape!r}: the input 'picture' takes N,3,4,6 with N from 1 to 256"


@pytest.mark.parametrize("shape", ["2,3,4,6", "3,3,4,6"])
def test_a_tensor_of_another_length_is_refused(shape: str) -> None:
    """The message has both numbers of bytes."""
    rows = int(shape[0])
    other = {"content_type": TENSOR, "tensor_datatype": "FP32", "tensor_shape": shape}
    text = refusal("bad_input", lambda: ask("?output=raw", bytes(rows * ROW_BYTES - 1), **other))
    whole = rows * ROW_BYTES
    assert text == f"the tensor has {whole - 1} bytes, but tensor-shape {shape} of FP32 makes {whole}"
