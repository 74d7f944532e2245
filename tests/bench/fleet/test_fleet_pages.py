"""docs/reference/bench-fleet.md says what there is: flags, defaults, members."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from bench.fleet.__main__ import parser
from bench.fleet.document import SCHEMA
from tests.support.fleet_run import fleet

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "bench-fleet.md").read_text(encoding="utf-8")


def rows(title: str) -> list[list[str]]:
    """The cells of the rows under a heading that begin with a name in backticks."""
    text = re.split(r"\n## ", PAGE.split(f"## {title}\n", 1)[1])[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]


def test_each_flag_and_its_default_are_described() -> None:
    """The table has what the program takes, and nothing else."""
    taken = {
        action.option_strings[-1]: action.default
        for action in parser()._actions
        if not isinstance(action, argparse._HelpAction)
    }
    described = {row[0].strip("`"): row[2] for row in rows("Flags")}
    assert described.keys() == taken.keys()
    for flag, default in taken.items():
        words = [f"{one:g}" for one in (default if isinstance(default, list) else [default])] if default else ["none"]
        assert described[flag].split()[: len(words)] == words, flag


def test_each_member_of_the_file_is_described() -> None:
    """At the top, and of the objects in it."""
    said = fleet().as_json()
    described = set(re.findall(r"`([a-z_]+)`", PAGE.split("## Files")[1]))
    inner = [*said["joined"], said["idle"], said["returned"], *said["decisions"], *said["bars"]]
    members = set(said).union(*inner, said["joined"][0]["memory"])
    assert members <= described
    assert f"`{SCHEMA}`" in PAGE
