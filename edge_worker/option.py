"""One option of a command: flag, variable, default, and how a text becomes a value. Every flag has a variable.

A flag beats its variable, a variable beats the default. Which options there are is options.py's.
"""

from __future__ import annotations

import argparse
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SWITCH = "true|false"
"""The value of an option that may be given without one, for true."""


@dataclass(frozen=True, slots=True)
class Option:
    """One flag, its variable, and how its text becomes a value."""

    flag: str
    variable: str
    read: Callable[[str], Any]  # Any: each option has its own type, checked by the test of the defaults
    default: str
    help: str
    group: str
    value: str
    """What stands for the value in the help."""
    is_list: bool = False


def add_options(parser: argparse.ArgumentParser, options: Sequence[Option]) -> None:
    """Adds a flag for each option. A switch may be given its value, or none for true."""
    groups = {title: parser.add_argument_group(title) for title in dict.fromkeys(option.group for option in options)}
    for option in options:
        default = f", default {option.default}" if option.default and option.value != SWITCH else ""
        text = f"{option.help}{default} [{option.variable}]".replace("%", "%%")
        action, optional = ("append", None) if option.is_list else ("store", "?" if option.value == SWITCH else None)
        groups[option.group].add_argument(
            f"--{option.flag}",
            action=action,
            nargs=optional,
            const="true" if optional else None,
            default=None,
            metavar=option.value,
            help=text,
        )


def read_options(
    options: Sequence[Option],
    flags: argparse.Namespace,
    environment: Mapping[str, str],
    problems: dict[str, list[str]],
) -> dict[str, Any]:  # Any: as for Option.read
    """The value of each option, by flag. What is wrong is collected in `problems`, also by flag."""
    given = {name: value for name, value in environment.items() if value}  # empty counts as not set
    return {option.flag: _value(option, flags, given, problems) for option in options}


def _value(
    option: Option, flags: argparse.Namespace, environment: Mapping[str, str], problems: dict[str, list[str]]
) -> Any:
    given = getattr(flags, option.flag.replace("-", "_"))
    source = f"--{option.flag}"
    if given is None and option.variable in environment:
        source, given = option.variable, environment[option.variable]
        given = [part.strip() for part in given.split(",") if part.strip()] if option.is_list else given
    if given is None:
        given = [] if option.is_list else option.default or (socket.gethostname() if option.flag == "name" else "")
    texts: Sequence[str] = given if option.is_list else [given]
    values = []
    for text in texts:
        try:
            values.append(option.read(text))
        except ValueError as error:
            problems.setdefault(option.flag, []).append(f"{source} = {text!r}: {error}")
    return tuple(values) if option.is_list else (values[0] if values else None)
