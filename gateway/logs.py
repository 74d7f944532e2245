"""Logs: one JSON line per event on standard error, or a readable line on a terminal.

Lines of libraries that use the standard logging module come out the same way. Nothing here decides what is logged:
the one who handles something logs it, once, and never a token or a body.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Format = Literal["auto", "json", "console"]

_LIBRARY_NAMES = ("aiohttp", "asyncio")
"""Libraries whose chatter below warnings helps nobody."""

_LEVELS = {"exception": "error", "warn": "warning"}
"""What a method is called where its name is not the level's."""


def configure_logs(log_format: Format, level: str, stream: TextIO | None = None) -> None:
    """Sets up structlog and the standard logging module, for the whole process. `stream` None is standard error."""
    output = sys.stderr if stream is None else stream
    is_console = log_format == "console" or (log_format == "auto" and output.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    first: list[Processor] = [_lead]
    last = _console(output) if is_console else _json()
    structlog.configure(
        processors=[*first, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(output),
        cache_logger_on_first_use=True,
    )
    _configure_standard(first, last, number, output)


def _lead(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Time, level and event lead each line, where the eye looks for them."""
    # One step for what are two of structlog's and a third for their order: a line is a tenth of a request's cost.
    time = datetime.now(UTC).isoformat().removesuffix("+00:00") + "Z"
    return {"time": time, "level": _LEVELS.get(method, method), "event": event.pop("event", ""), **event}


def _json() -> list[Processor]:
    # One encoder for all lines: structlog's own renderer makes one for each, which costs more than the encoding.
    # ASCII, since what strangers send may hold half a character, which no output could be written with.
    encode = json.JSONEncoder(default=repr, separators=(",", ":")).encode

    def render(logger: WrappedLogger, method: str, event: EventDict) -> str:
        if "exc_info" in event:
            event = structlog.processors.format_exc_info(logger, method, event)
        return encode(event)

    return [render]


def _console(output: TextIO) -> list[Processor]:
    return [structlog.dev.ConsoleRenderer(colors=output.isatty(), timestamp_key="time")]


def _configure_standard(first: list[Processor], last: list[Processor], number: int, output: TextIO) -> None:
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*first, structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)
    for name in _LIBRARY_NAMES:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
