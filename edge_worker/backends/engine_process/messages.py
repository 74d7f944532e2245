"""What a worker and its engine process say to each other: framing, and the values that cross. Pure.

A message is two lengths, a JSON object and a body. Both ends are of one version and one machine, so there is no
negotiation; but the engine process decodes strangers' pictures in native code, so what comes from it is read as JSON of
known kinds within bounds, and never as pickled Python.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from edge_worker.backends.base import Answer, BackendFailed, BadInput, Call, NotReady, ServedModel
from edge_worker.backends.settings import BackendSettings

Buffer = bytes | memoryview

_LENGTHS = struct.Struct("!II")
"""Bytes of the JSON object, and of the body."""
MAX_HEAD_BYTES = 16 << 20
"""The description of a thousand models is a hundredth of that."""
MAX_BODY_BYTES = 1 << 31
"""Over the largest picture that a worker can be told to take, and the numbers of 256 pictures of a million classes."""


class _Head(msgspec.Struct, tag_field="kind", tag=str.lower):
    """What a message's JSON object says, by its `kind`."""


# --- from the worker --------------------------------------------------------------------------------------------------


class Start(_Head):
    """The first message."""

    backend: str
    settings: Mapping[str, Any]  # Any: JSON


class Ask(_Head):
    """A `base.Call`; its body is the message's."""

    call: int
    model: str
    method: str
    path: str
    metadata: tuple[tuple[str, str], ...]
    deadline_at: float | None
    """As it is: the monotonic clock is the machine's, not a process's."""


class Probe(_Head):
    """An inference of the backend's own sample."""

    call: int
    model: str


class Cancel(_Head):
    """Nobody waits for that call any more."""

    call: int


class Close(_Head):
    """There is no more to do."""


# --- from the engine process ------------------------------------------------------------------------------------------


class Unusable(_Head):
    """The settings cannot be used; it has nothing more to say."""

    text: str


class Models(_Head):
    """All models: once they are loaded, and whenever one of them has failed."""

    models: tuple[ServedModel, ...]


class Lost(_Head):
    """Only a new process can help. It goes on with what it still can."""

    text: str


class Answered(_Head):
    """A `base.Answer`; its body is the message's."""

    call: int
    content_type: str
    status: int
    durations_s: dict[str, float]
    metadata: tuple[tuple[str, str], ...]


class Failed(_Head):
    """What a call raised."""

    call: int
    error: str
    text: str


class Alive(_Head):
    """A sign of life."""


Head = Start | Ask | Probe | Cancel | Close | Unusable | Models | Lost | Answered | Failed | Alive

_to_json = msgspec.json.Encoder().encode
_from_json: msgspec.json.Decoder[Head] = msgspec.json.Decoder(Head)


class MalformedMessage(Exception):
    """The other side is broken; nothing more that it says can be understood."""


class Message(msgspec.Struct):
    """One message."""

    head: Head
    body: Buffer = b""


def encode(message: Message) -> tuple[bytes, Buffer]:
    """The lengths with the JSON object, and the body."""
    head = _to_json(message.head)
    return _LENGTHS.pack(len(head), len(message.body)) + head, message.body


class Decoder:
    """Bytes to messages, for one stream."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._held = 0
        self._wanted = _LENGTHS.size
        """Bytes of the message that comes next, as far as is known."""
        self._lengths: tuple[int, int] | None = None

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are whole now; a body is a part of what was fed, or of a copy. Raises MalformedMessage."""
        self._pieces.append(data)
        self._held += len(data)
        while self._held >= self._wanted:
            whole = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces = [whole]
            if self._lengths is None:
                self._read_lengths(whole)
                continue
            yield self._message(whole, *self._lengths)
            rest = whole[self._wanted :]
            self._pieces, self._held = ([rest] if rest else []), len(rest)
            self._lengths, self._wanted = None, _LENGTHS.size

    def _read_lengths(self, whole: bytes) -> None:
        head_bytes, body_bytes = _LENGTHS.unpack_from(whole)
        if head_bytes > MAX_HEAD_BYTES or body_bytes > MAX_BODY_BYTES:
            raise MalformedMessage(f"a message of {head_bytes} and {body_bytes} bytes")
        self._lengths = head_bytes, body_bytes
        self._wanted = _LENGTHS.size + head_bytes + body_bytes

    def _message(self, whole: bytes, head_bytes: int, body_bytes: int) -> Message:
        begins = _LENGTHS.size + head_bytes
        view = memoryview(whole)
        try:
            head = _from_json.decode(view[_LENGTHS.size : begins])
        except (msgspec.DecodeError, RecursionError) as error:
            raise MalformedMessage(f"a message that is no JSON object of a known kind: {error}") from error
        return Message(head, view[begins : begins + body_bytes])


# --- the values that cross --------------------------------------------------------------------------------------------


def start(backend: str, settings: BackendSettings) -> Message:
    """Of the settings, those of echo stay behind: it needs no process."""
    told = {name: value for name, value in asdict(settings).items() if not name.startswith("echo_")}
    told["model_dirs"] = list(map(str, settings.model_dirs))
    return Message(Start(backend, told))


def settings_of(start: Start) -> BackendSettings:
    """What `start` was given."""
    told = start.settings
    return BackendSettings(
        **{**told, "model_dirs": tuple(map(Path, told["model_dirs"])), "models": tuple(told["models"])}
    )


def call(number: int, asked: Call) -> Message:
    """A request."""
    head = Ask(number, asked.model, asked.method, asked.path, tuple(asked.metadata), asked.deadline_at)
    return Message(head, asked.body)


def call_of(head: Ask, body: Buffer) -> Call:
    """What `call` was given."""
    return Call(head.model, head.method, head.path, head.metadata, body, head.deadline_at)


def answer(number: int, given: Answer) -> Message:
    """A response."""
    head = Answered(number, given.content_type, given.status, dict(given.durations_s), tuple(given.metadata))
    return Message(head, given.body)


def answer_of(head: Answered, body: Buffer) -> Answer:
    """What `answer` was given."""
    return Answer(bytes(body), head.content_type, head.status, head.durations_s, head.metadata)


def failure(number: int, error: BadInput | BackendFailed | NotReady) -> Message:
    """What a call raised."""
    match error:
        case BadInput():
            name = error.code
        case NotReady():
            name = "not_ready"
        case _:
            name = "backend_failed"
    return Message(Failed(number, name, str(error)))


def error_of(head: Failed) -> BadInput | BackendFailed | NotReady:
    """What `failure` was given."""
    if head.error == "not_ready":
        return NotReady(head.text)
    return BadInput(head.error, head.text) if head.error in BadInput.CODES else BackendFailed(head.text)
