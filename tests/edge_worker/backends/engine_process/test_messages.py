"""What crosses between a worker and its engine process: whole, in order, bounded, and the same on the other side."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_worker.backends.base import Answer, BackendFailed, BadInput, Call, NotReady, ServedModel
from edge_worker.backends.engine_process import messages
from edge_worker.backends.engine_process.messages import Decoder, MalformedMessage, Message, Probe, encode
from edge_worker.backends.settings import BackendSettings


def crossed(message: Message) -> Message:
    """As the other side reads it."""
    (read,) = Decoder().feed(b"".join(encode(message)))
    return read


def fed(pieces: Sequence[bytes]) -> list[Message]:
    decoder = Decoder()
    return [message for piece in pieces for message in decoder.feed(piece)]


@given(st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=40)), max_size=5), st.lists(st.integers(1, 30)))
def test_pieces_of_any_size_give_the_same_messages(sent: list[tuple[int, bytes]], sizes: list[int]) -> None:
    """Whatever a read returns, messages come out whole and in order."""
    told = [Message(Probe(number, "m"), body) for number, body in sent]
    data = b"".join(part for message in told for part in encode(message))
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    pieces.append(data[at:])
    assert [(one.head, bytes(one.body)) for one in fed(pieces)] == [(Probe(number, "m"), body) for number, body in sent]


@pytest.mark.parametrize(
    ("head_bytes", "body_bytes"), [(messages.MAX_HEAD_BYTES + 1, 0), (2, messages.MAX_BODY_BYTES + 1)]
)
def test_a_length_beyond_its_bound_is_refused(head_bytes: int, body_bytes: int) -> None:
    """Before anything of that size is waited for."""
    with pytest.raises(MalformedMessage, match=rf"a message of {head_bytes} and {body_bytes} bytes"):
        list(Decoder().feed(struct.pack("!II", head_bytes, body_bytes)))


@pytest.mark.parametrize(
    "head", [b"nothing", b"[]", b"{}", b'{"kind":"unheard of"}', b'{"kind":[]}', b"[" * 5000, b'{"kind":"alive"}{}']
)
def test_a_head_that_is_no_message_is_refused(head: bytes) -> None:
    """It must be a JSON object of a kind that there is."""
    with pytest.raises(MalformedMessage, match="no JSON object of a known kind"):
        list(Decoder().feed(struct.pack("!II", len(head), 0) + head))


def test_settings_cross(tmp_path: Path) -> None:
    """All but those of echo, which needs no process."""
    settings = BackendSettings(
        slots=3, threads=2, model_dirs=(tmp_path,), models=("a", "b"), embedded=False, max_batch=4,
        max_batch_wait_us=9, engine_limit_s=2.5, max_pixels=100, device="gpu:1", require_gpu=True, xla=True,
        mixed_precision=True,
    )  # fmt: skip
    read = crossed(messages.start("tensorflow", settings))
    assert isinstance(read.head, messages.Start)
    assert read.head.backend == "tensorflow"
    assert messages.settings_of(read.head) == settings


def test_models_cross() -> None:
    """With what is announced of them."""
    models = [
        ServedModel("digits", "1", 2, metadata={"labels": 10, "input": {"shape": [-1, 8, 8, 1]}}, ahead=2),
        ServedModel("broken", "", 1, failure="model.toml: no such file"),
    ]
    told = messages.Models(tuple(models))
    assert crossed(Message(told)).head == told


@pytest.mark.parametrize("deadline_at", [None, 12345.678901])
def test_a_call_crosses(deadline_at: float | None) -> None:
    """Its body is bytes that are not copied once more, its deadline is the same moment."""
    call = Call("m", "POST", "/inference/m?top=3", (("content-type", "image/png"),), b"picture", deadline_at)
    message = crossed(messages.call(7, call))
    assert isinstance(message.head, messages.Ask)
    read = messages.call_of(message.head, message.body)
    assert isinstance(read.body, memoryview)
    assert (read.model, read.method, read.path, read.metadata) == (call.model, call.method, call.path, call.metadata)
    assert (bytes(read.body), read.deadline_at) == (b"picture", deadline_at)


def test_an_answer_crosses() -> None:
    """The durations keep their order."""
    answer = Answer(b"\x00labels", "x/y", 201, {"decode": 0.25, "b": 1.5, "a": 0.125}, (("tensor-shape", "1,3"),))
    message = crossed(messages.answer(7, answer))
    assert isinstance(message.head, messages.Answered)
    read = messages.answer_of(message.head, message.body)
    assert read == answer
    assert list(read.durations_s) == ["decode", "b", "a"]


@pytest.mark.parametrize(
    "error", [*[BadInput(code, "why") for code in BadInput.CODES], BackendFailed("why"), NotReady("why")], ids=repr
)
def test_a_failure_crosses(error: BadInput | BackendFailed | NotReady) -> None:
    """Its kind, its code and its text."""
    head = crossed(messages.failure(7, error)).head
    assert isinstance(head, messages.Failed)
    read = messages.error_of(head)
    assert (type(read), str(read), getattr(read, "code", "")) == (type(error), "why", getattr(error, "code", ""))


def test_a_failure_of_no_known_kind_is_the_engines() -> None:
    """A call is never left without an end."""
    assert isinstance(messages.error_of(messages.Failed(1, "new", "why")), BackendFailed)


def test_text_of_any_language_crosses() -> None:
    """As UTF-8, however it is split."""
    data = b"".join(encode(Message(messages.Lost("Grüße, 猫"))))
    (read,) = fed([bytes([byte]) for byte in data])
    assert read.head == messages.Lost("Grüße, 猫")
    assert "猫".encode() in data
    assert json.loads(data[8:])["kind"] == "lost"
