"""What a worker and its engine process say to each other: framing, and the values that cross. Pure.

A message is two lengths, a JSON object and a body. Times are whole microseconds: JSON takes long over the digits of a
float. Both ends are of one version and one machine, so there is no negotiation; but the engine process decodes
strangers' pictures in native code, so what comes from it is read as JSON within bounds, and never as pickled Python.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from edge_worker.backends.base import Answer, BackendFailed, BadInput, Call, NotReady, ServedModel
from edge_worker.backends.settings import BackendSettings

Buffer = bytes | memoryview

_LENGTHS = struct.Struct("!II")
"""Bytes of the JSON object, and of the body."""
MAX_HEAD_BYTES = 16 << 20
"""The description of a thousand models is a hundredth of that."""
MAX_BODY_BYTES = 1 << 31
"""Over the largest picture that a worker can be told to take, and the numbers of 256 pictures of a million classes."""

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_from_json = json.JSONDecoder().raw_decode
"""What a text begins with, and where that ends."""


class Kind(StrEnum):
    """What a message is."""

    # from the worker
    START = "start"
    CALL = "call"
    PROBE = "probe"
    CANCEL = "cancel"
    CLOSE = "close"
    # from the engine process
    UNUSABLE = "unusable"
    """The settings cannot be used; it has nothing more to say."""
    MODELS = "models"
    """All models: once they are loaded, and whenever one of them has failed."""
    LOST = "lost"
    """Only a new process can help. It goes on with what it still can."""
    ANSWER = "answer"
    FAILURE = "failure"
    ALIVE = "alive"


_KINDS = {kind.value: kind for kind in Kind}


class MalformedMessage(Exception):
    """The other side is broken; nothing more that it says can be understood."""


@dataclass(slots=True)
class Message:
    """One message. As with frames, nobody changes it once it is made."""

    kind: Kind
    fields: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON
    body: Buffer = b""


def encode(message: Message) -> tuple[bytes, Buffer]:
    """The lengths with the JSON object, and the body."""
    head = _to_json({"kind": message.kind, **message.fields}).encode()
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
        try:
            text = whole[_LENGTHS.size : begins].decode()
            fields, end = _from_json(text)
            if end != len(text):
                raise ValueError(f"{text[end : end + 40]!r} is behind it")
            kind = _KINDS[fields.pop("kind")]
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise MalformedMessage(f"a message that is no JSON object of a known kind: {error}") from error
        return Message(kind, fields, memoryview(whole)[begins : begins + body_bytes])


# --- the values that cross --------------------------------------------------------------------------------------------


def start(backend: str, settings: BackendSettings) -> Message:
    """The first message to an engine process. Of the settings, those of echo stay behind: it needs no process."""
    told = {name: value for name, value in asdict(settings).items() if not name.startswith("echo_")}
    told["model_dirs"] = list(map(str, settings.model_dirs))
    return Message(Kind.START, {"backend": backend, "settings": told})


def settings_of(message: Message) -> BackendSettings:
    """What `start` was given."""
    told = message.fields["settings"]
    return BackendSettings(
        **{**told, "model_dirs": tuple(map(Path, told["model_dirs"])), "models": tuple(told["models"])}
    )


def models(served: Sequence[ServedModel]) -> Message:
    """All models as they are now."""
    return Message(Kind.MODELS, {"models": [asdict(model) for model in served]})


def models_of(message: Message) -> Sequence[ServedModel]:
    """What `models` was given."""
    return [ServedModel(**model) for model in message.fields["models"]]


def call(number: int, asked: Call) -> Message:
    """A request. Its deadline stays what it is: the monotonic clock is the machine's, not a process's."""
    told = {
        "call": number,
        "model": asked.model,
        "method": asked.method,
        "path": asked.path,
        "metadata": asked.metadata,
        "deadline_us": None if asked.deadline_at is None else round(asked.deadline_at * 1e6),
    }
    return Message(Kind.CALL, told, asked.body)


def call_of(message: Message) -> Call:
    """What `call` was given."""
    told = message.fields
    metadata = tuple([(name, value) for name, value in told["metadata"]])
    deadline_at = None if told["deadline_us"] is None else told["deadline_us"] / 1e6
    return Call(told["model"], told["method"], told["path"], metadata, message.body, deadline_at)


def answer(number: int, given: Answer) -> Message:
    """A response."""
    told = {
        "call": number,
        "content_type": given.content_type,
        "status": given.status,
        "durations_us": {name: round(seconds * 1e6) for name, seconds in given.durations_s.items()},
        "metadata": given.metadata,
    }
    return Message(Kind.ANSWER, told, given.body)


def answer_of(message: Message) -> Answer:
    """What `answer` was given."""
    told = message.fields
    metadata = tuple([(name, value) for name, value in told["metadata"]])
    durations_s = {name: micros / 1e6 for name, micros in told["durations_us"].items()}
    return Answer(bytes(message.body), told["content_type"], told["status"], durations_s, metadata)


def failure(number: int, error: BadInput | BackendFailed | NotReady) -> Message:
    """What a call raised."""
    match error:
        case BadInput():
            name = error.code
        case NotReady():
            name = "not_ready"
        case _:
            name = "backend_failed"
    return Message(Kind.FAILURE, {"call": number, "error": name, "text": str(error)})


def error_of(message: Message) -> BadInput | BackendFailed | NotReady:
    """What `failure` was given."""
    name, text = message.fields["error"], message.fields["text"]
    if name == "not_ready":
        return NotReady(text)
    return BadInput(name, text) if name in BadInput.CODES else BackendFailed(text)
