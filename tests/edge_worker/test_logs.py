"""The worker's log: JSON for machines, lines for people, and the same words as the gateway's."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from edge_worker.logs import ConsoleFormatter, JsonFormatter, set_up_logs
from gateway.logs import configure_logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, library = root.handlers[:], root.level, logging.getLogger("websockets").level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("websockets").setLevel(library)


def lines(log_format: str, monkeypatch: pytest.MonkeyPatch, level: str = "info") -> list[str]:
    """What a few events become."""
    output = io.StringIO()
    monkeypatch.setattr(sys, "stderr", output)
    set_up_logs(log_format, level)
    log = logging.getLogger("edge_worker.test")
    log.debug("too fine")
    log.info("connected", extra={"gateway": "wss://g", "retry_s": 1.5})
    try:
        raise KeyError("lost")
    except KeyError:
        log.exception("broken")
    return output.getvalue().splitlines()


def test_json_is_one_object_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time, level, event and logger, then the event's fields; a traceback stays in its line."""
    first, second = (json.loads(line) for line in lines("json", monkeypatch))
    assert list(first) == ["time", "level", "event", "logger", "gateway", "retry_s"]
    assert (first["level"], first["event"], first["logger"]) == ("info", "connected", "edge_worker.test")
    assert (first["gateway"], first["retry_s"]) == ("wss://g", 1.5)
    assert first["time"].endswith("Z")
    assert second["level"] == "error"
    assert "KeyError: 'lost'" in second["exception"]


def test_the_gateways_lines_have_the_same_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """One query finds events of both sides: the keys that every line has are called the same."""
    worker = [json.loads(line) for line in lines("json", monkeypatch)]
    output = io.StringIO()
    configure_logs("json", "info", output)
    log = logging.getLogger("edge_worker.test")
    log.info("connected", extra={"gateway": "wss://g", "retry_s": 1.5})
    try:
        raise KeyError("lost")
    except KeyError:
        log.exception("broken")
    gateway = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [set(line) for line in worker] == [set(line) for line in gateway]
    assert [(line["level"], line["event"]) for line in worker] == [(line["level"], line["event"]) for line in gateway]


def test_console_lines_are_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Level, event and fields in a line, the traceback below."""
    text = lines("console", monkeypatch)
    assert "info    connected            gateway=wss://g retry_s=1.5" in text[0]
    assert text[-1] == "KeyError: 'lost'"


def test_auto_is_json_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal the lines are JSON."""
    assert json.loads(lines("auto", monkeypatch)[0])["event"] == "connected"


def test_the_level_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finer events than the level are left out, and appear below it."""
    assert len(lines("json", monkeypatch, "error")) == 1
    assert len(lines("json", monkeypatch, "debug")) == 3


@pytest.mark.parametrize("formatter", [JsonFormatter(), ConsoleFormatter()])
def test_a_field_cannot_forge_a_line(formatter: logging.Formatter) -> None:
    """A reason from the other side with line breaks and colours in it stays in its line."""
    record = logging.makeLogRecord({"msg": "disconnected", "reason": "x\n12:00:00 info all is well\x1b[2J"})
    line = formatter.format(record)
    assert "\n" not in line
    assert "\x1b" not in line
