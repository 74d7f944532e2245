"""The log's form on standard error."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from gateway.logs import Format, configure_logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_is_one_object_a_line() -> None:
    """Each event is a line of JSON that begins with time, level and event."""
    output = io.StringIO()
    configure_logs("json", "info", output)
    structlog.get_logger().info("request", status=200, path="a\nb")
    (line,) = output.getvalue().splitlines()
    event = json.loads(line)
    assert list(event) == ["time", "level", "event", "status", "path"]
    assert event["path"] == "a\nb"
    assert event["time"].endswith("Z")


def test_any_text_can_be_written() -> None:
    """Half a character that came in a header, and a value that JSON does not know, do not break the line."""
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    configure_logs("json", "info", output)
    structlog.get_logger().info("odd", text="\udcff", value=object)
    output.seek(0)
    assert json.loads(output.read())["text"] == "\udcff"


def test_levels_below_the_configured_are_not_written() -> None:
    """The level holds for this program's lines and for libraries'."""
    output = io.StringIO()
    configure_logs("json", "warning", output)
    structlog.get_logger().info("no")
    logging.getLogger("some.library").info("no")
    assert output.getvalue() == ""
    structlog.get_logger().warning("yes")
    assert json.loads(output.getvalue())["event"] == "yes"


def test_libraries_log_in_the_same_form() -> None:
    """A line of the standard logging module is the same JSON, with its logger's name and traceback."""
    output = io.StringIO()
    configure_logs("json", "info", output)
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("some.library").exception("it %s", "failed")
    event = json.loads(output.getvalue())
    assert (event["event"], event["level"], event["logger"]) == ("it failed", "error", "some.library")
    assert "ValueError: broken" in event["exception"]


def test_quiet_libraries_stay_quiet() -> None:
    """aiohttp's and asyncio's lines below warnings help nobody."""
    output = io.StringIO()
    configure_logs("json", "info", output)
    logging.getLogger("aiohttp.server").info("chatter")
    assert output.getvalue() == ""


@pytest.mark.parametrize(
    ("log_format", "output", "is_json"),
    [("auto", io.StringIO(), True), ("auto", Terminal(), False), ("console", io.StringIO(), False)],
)
def test_a_terminal_gets_readable_lines(log_format: Format, output: io.StringIO, is_json: bool) -> None:
    """auto writes for people on a terminal and JSON elsewhere."""
    configure_logs(log_format, "info", output)
    structlog.get_logger().info("hello")
    assert output.getvalue().startswith("{") is is_json
    assert "hello" in output.getvalue()
