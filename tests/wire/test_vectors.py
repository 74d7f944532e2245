"""docs/reference/wire.md is true: its examples are what the code reads and writes, its tables are the code's."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from wire import SUBPROTOCOL, limits
from wire.codec import decode, encode
from wire.errors import CloseCode, ExchangeCode, FrameError
from wire.frames import ControlFrame, ExchangeFrame, Frame
from wire.receiving import MAX_UNACKNOWLEDGED_BYTES, MAX_WAITING_CONTROL

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "wire.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(vector|vector-read|invalid)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLASSES = (*get_args(ControlFrame), *get_args(ExchangeFrame))


def name_of(kind: type[Frame]) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).upper().replace("GO_AWAY", "GOAWAY")


@dataclass(frozen=True)
class Example:
    """One fenced block: what it is, its lines by their first word, and the message."""

    kind: str
    lines: dict[str, str]
    message: bytes

    def __str__(self) -> str:
        return self.lines.get("frame") or self.lines["rule"]


def examples(*kinds: str) -> list[Example]:
    """The blocks of these kinds. A line that begins with a space goes on with the bytes before it."""
    found = []
    for kind, text in BLOCK.findall(PAGE):
        lines = dict(line.split(maxsplit=1) for line in text.replace("\n ", " ").splitlines())
        digits = lines["bytes"].replace(" ", "")
        found.append(Example(kind, lines, b"" if digits == "-" else bytes.fromhex(digits)))
    return [example for example in found if example.kind in kinds]


def fields_of(value: Any) -> Any:
    """A frame as the page writes it: bytes in hexadecimal, tuples as lists, heads and models as objects."""
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if dataclasses.is_dataclass(value):
        return {field.name: fields_of(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [fields_of(one) for one in value]
    return value


@pytest.mark.parametrize("example", examples("vector", "vector-read"), ids=str)
def test_an_example_is_read_as_it_says(example: Example) -> None:
    """The bytes are the frame with these fields."""
    frame = decode(example.message)
    assert name_of(type(frame)) == example.lines["frame"]
    assert fields_of(frame) == json.loads(example.lines["fields"])


@pytest.mark.parametrize("example", examples("vector"), ids=str)
def test_an_example_is_written_as_it_says(example: Example) -> None:
    """The frame is written as these bytes."""
    assert encode(decode(example.message)) == example.message


@pytest.mark.parametrize("example", examples("invalid"), ids=str)
def test_what_is_no_frame_is_refused_as_it_says(example: Example) -> None:
    """The error is the one beside the bytes."""
    with pytest.raises(FrameError) as caught:
        decode(example.message)
    assert str(caught.value) == example.lines["error"]


def test_every_frame_has_its_section_and_its_example() -> None:
    """No class without a heading that says its type, in order, and a valid message."""
    headings = re.findall(r"^### 0x([0-9A-F]{2}) ([A-Z_]+)$", PAGE, re.MULTILINE)
    assert [(int(kind, 16), name) for kind, name in headings] == [(kind.TYPE, name_of(kind)) for kind in CLASSES]
    assert {example.lines["frame"] for example in examples("vector")} == {name_of(kind) for kind in CLASSES}


@pytest.mark.parametrize("kind", CLASSES, ids=name_of)
def test_every_field_is_in_its_section(kind: type[Frame]) -> None:
    """A field that is added to a frame is added to the page."""
    section = PAGE.split(f"### 0x{kind.TYPE:02X} ")[1].split("\n### ")[0]
    for field in dataclasses.fields(kind):
        if field.name not in ("exchange", "head", "data", "end", "ack_now", "token", "text", "code", "metadata"):
            assert f"`{field.name}`" in section, field.name


def rows(heading: str) -> list[list[str]]:
    """The cells of the tables between a heading and the next one."""
    section = re.split(rf"^#+ {heading}$", PAGE, flags=re.MULTILINE)[1]
    section = re.split(r"^#+ ", section, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_close_codes_are_the_codes() -> None:
    """Number, name and WebSocket code."""
    said = [(row[0], row[1], row[2]) for row in rows("Why a tunnel ends")[1:]]
    assert said == [(str(code.value), code.name, str(code.websocket)) for code in CloseCode]


def test_the_exchange_codes_are_the_codes() -> None:
    """Number, name, and whether another worker may have it."""
    said = [(row[0], row[1], row[3] == "no") for row in rows("Why an exchange ends without an answer")[1:]]
    assert said == [(str(code.value), code.name, code.was_not_begun) for code in ExchangeCode]


def test_the_limits_are_the_limits() -> None:
    """Each number of the tables is the constant."""
    said = [re.sub(r"(?<=\d),(?=\d)", "", row[1]) for row in rows("Limits") if row[1] not in ("Limit", "Default")]
    defaults = limits.Limits()
    assert said == [
        f"{limits.MAX_MESSAGE_BYTES} bytes",
        f"{limits.MAX_HEAD_BYTES} bytes",
        f"{limits.MAX_METADATA_PAIRS}",
        f"{limits.MAX_TEXT_BYTES} bytes",
        f"{limits.MAX_TOKEN_BYTES} bytes",
        f"{limits.MAX_JSON_DEPTH} levels",
        "2^31 - 1 bytes",
        f"{MAX_UNACKNOWLEDGED_BYTES}",
        f"{defaults.opening_timeout_s:g} s",
        f"{defaults.window_bytes} bytes",
        f"{defaults.max_window_bytes // limits.MIB} MiB",
        f"{defaults.max_buffered_bytes // limits.MIB} MiB",
        f"{defaults.max_exchanges}",
        f"{defaults.heartbeat_interval_s * 1000:g} ms, {defaults.heartbeat_misses} misses",
        f"{MAX_WAITING_CONTROL}, then `PROTOCOL_ERROR`",
    ]
    assert limits.MAX_CREDIT_BYTES == 2**31 - 1


def test_the_subprotocol_is_the_one_that_is_spoken() -> None:
    """A reader who copies it gets in."""
    assert f"`{SUBPROTOCOL}`" in PAGE
