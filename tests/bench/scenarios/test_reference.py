"""docs/reference/scenarios.md says what there is: names, flags, defaults, statuses."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from bench.flags import add_target_flags
from bench.measure.early_stopping import queries_needed
from bench.scenarios import __main__ as program
from bench.scenarios.registry import SCENARIOS

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "scenarios.md").read_text(encoding="utf-8")
OF_ALL = {"--timeout", "--no-keep-alive", "--seed", "--warm-up", "--out"}


def section(title: str) -> str:
    """From a heading to the next one."""
    return re.split(r"\n#+ ", PAGE.split(f"\n## {title}\n", 1)[1])[0]


def table(title: str) -> dict[str, str]:
    """The last cell by the first, of the section's tables of flags."""
    rows = re.findall(r"^\| `(--[^`]+)` \|.*\| ([^|]*)\|$", section(title), re.MULTILINE)
    return {flag: default.strip("` ") for flag, default in rows}


def flags_of(name: str) -> dict[str, object]:
    made = argparse.ArgumentParser()
    SCENARIOS[name].add_flags(made)
    return {action.option_strings[-1]: action.default for action in made._actions if action.dest != "help"}


def address_flags() -> set[str]:
    made = argparse.ArgumentParser()
    add_target_flags(made)
    return {action.option_strings[-1] for action in made._actions if action.dest != "help"}


def test_each_scenario_is_described_once() -> None:
    """The list has the names that the program takes, in its order, and each has its section."""
    listed = re.findall(r"^\| \[`([a-z-]+)`\]", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(SCENARIOS)
    assert all(f"\n## {name}\n" in PAGE for name in SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_flag_is_described_with_its_default(name: str) -> None:
    """A section has the flags of its scenario alone; numbers in the column of defaults are the parser's."""
    own = flags_of(name)
    takes_address = address_flags() <= set(own)
    shared = OF_ALL | (address_flags() if takes_address else set())
    described = table(name)
    assert set(described) == set(own) - shared
    for flag, default in described.items():
        value = own[flag]
        shown = " ".join(f"{one:g}" for one in value) if isinstance(value, list) else value
        if isinstance(shown, bool):
            assert not default, flag
        elif isinstance(shown, int | float):
            assert float(default) == shown, flag
        elif shown:
            assert default == shown, flag


def test_shared_flags_are_described() -> None:
    """The table of all, and the names of those that an address takes."""
    assert set(table("Flags of all")) == OF_ALL
    assert all(f"`{flag}`" in section("Flags of all") for flag in address_flags())
    assert flags_of("offline")["--timeout"] == 3600
    assert "--warm-up" not in {**flags_of("offline"), **flags_of("idle-gap")}


def test_counts_of_early_stopping() -> None:
    """The page's table is the rule's."""
    overs, needed = re.findall(r"^\| (?:over, at most|queries needed) \|(.*)\|$", section("server"), re.MULTILINE)
    for over, queries in zip(overs.split("|"), needed.split("|"), strict=True):
        assert queries_needed(int(over)) == int(queries)


def test_each_status_is_described() -> None:
    """The exit statuses of the program."""
    numbers = {int(number) for number in re.findall(r"^\| (\d+) \|", section("Exit status"), re.MULTILINE)}
    statuses = (program.GOOD, program.NOT_GOOD, program.BAD_INPUT, program.NOT_WRITTEN, program.INTERRUPTED)
    assert numbers == set(statuses)
