"""docs/reference/command-line.md says what both programs take: no more, no less."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge_worker.cli
import gateway.cli

PAGE = (Path(__file__).parents[1] / "docs/reference/command-line.md").read_text(encoding="utf-8")


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of the commands that do something."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield parser
    for group in groups:
        for one in group.choices.values():
            yield from leaves(one)


COMMANDS = [*leaves(gateway.cli._parser()), *leaves(edge_worker.cli._parser())]


def section(command: str) -> str:
    """What is under a command's heading."""
    match = re.search(rf"^## {command}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert match is not None, f"{command} has no heading"
    return match[1]


def described(command: str) -> set[str]:
    """The first words of the rows there."""
    return set(re.findall(r"^\| `([^` ]+)", section(command), re.MULTILINE))


def taken(parser: argparse.ArgumentParser) -> set[str]:
    actions = [action for action in parser._actions if "--help" not in action.option_strings]
    return {
        name for action in actions for name in action.option_strings or [str(action.metavar or action.dest).upper()]
    }


@pytest.mark.parametrize("parser", COMMANDS, ids=lambda parser: parser.prog)
def test_each_command_is_described(parser: argparse.ArgumentParser) -> None:
    """Every flag and argument of a command is a row under its heading, and every row is one of them."""
    assert described(parser.prog) == taken(parser)


def test_no_other_command_is_described() -> None:
    """Each heading is a command that there is."""
    assert re.findall(r"^## (.*)$", PAGE, re.MULTILINE) == [parser.prog for parser in COMMANDS]


@pytest.mark.parametrize("parser", COMMANDS, ids=lambda parser: parser.prog)
def test_defaults_are_those_of_the_programs(parser: argparse.ArgumentParser) -> None:
    """A default that a command's row names is the one that the program has."""
    for flag, default in re.findall(r"^\| `(--[a-z-]+)[^|]*\|.*Default: `([^`]*)`", section(parser.prog), re.MULTILINE):
        (action,) = (action for action in parser._actions if flag in action.option_strings)
        assert str(action.default) == default, f"{parser.prog} {flag}"
