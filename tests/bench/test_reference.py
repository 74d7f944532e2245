"""docs/reference/bench.md says what there is: flags, columns, members of the summary, reasons, statuses."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import test as program
from bench.flags import parser
from bench.load.sample import INTERRUPTED, NOT_SENT, ROW
from bench.measure.percentiles import least_n
from gateway.client.connection import _CODES
from tests.support.summaries import example_samples, example_summary

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "bench.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """From a heading to the next one."""
    return re.split(r"\n#+ ", PAGE.split(f"# {title}\n", 1)[1])[0]


def first_cells(title: str) -> list[str]:
    """What stands in backticks in the first column of the section's tables."""
    rows = [line for line in section(title).splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def members(value: object) -> Iterator[str]:
    """Every key, at every depth, but those that are names of stages, statuses or percentiles, or of a relay."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield key
            if key not in ("parts", "statuses", "pdv", "environment", "relay"):
                yield from members(one)
    elif isinstance(value, list):
        for one in value:
            yield from members(one)


def test_each_flag_is_described_once() -> None:
    """The table has the flags that the program takes, and no other."""
    made = program._parser()
    flags = {action.option_strings[-1] for action in made._actions if not isinstance(action, argparse._HelpAction)}
    assert sorted(first_cells("Flags")) == sorted(flags)


def test_defaults_are_as_said() -> None:
    """Numbers in the column of defaults are the parser's."""
    defaults = vars(parser("bench", "").parse_args([]))
    table = {row.split("|")[1].strip(" `"): row.split("|")[-2].strip() for row in section("Flags").splitlines()[3:-1]}
    assert float(table["--rate"]) == defaults["rate"]
    assert float(table["--timeout"]) == defaults["timeout"]
    assert int(table["--burst-size"]) == defaults["burst_size"]
    assert int(table["--seed"]) == defaults["seed"]
    assert table["--arrivals"] == f"`{defaults['arrivals'][0]}`"


def test_each_column_is_described_once() -> None:
    """The table has the columns of the files, and no other."""
    columns = [name for name in ROW.names or () if name != "stages"]
    assert sorted(first_cells("Samples")) == sorted([*columns, "stage_NAME"])


def test_each_member_of_the_summary_is_described() -> None:
    """Whatever a reader finds in summary.json stands on the page."""
    summary = example_summary(example_samples())
    assert sorted(set(first_cells("summary.json"))) == sorted(summary)
    named = set(re.findall(r"`([^`]+)`", section("summary.json")))
    assert set(members({key: value for key, value in summary.items() if key != "environment"})) <= named


def test_each_reason_is_described() -> None:
    """The client's own words for a failure, and no other."""
    ours = {reason for _, reason in _CODES}
    assert set(first_cells("Failures")) == {*ours, NOT_SENT, INTERRUPTED, "not_json"}


def test_each_status_is_described() -> None:
    """The exit statuses of the program."""
    numbers = {int(number) for number in re.findall(r"^\| (\d+) \|", section("Exit status"), re.MULTILINE)}
    statuses = {program.GOOD, program.NOT_GOOD, program.BAD_INPUT, program.NOT_WRITTEN, program.INTERRUPTED}
    assert numbers == statuses


@pytest.mark.parametrize("q", [0.9, 0.95, 0.99, 0.999])
def test_least_numbers_are_as_said(q: float) -> None:
    """36, 72, 368 and 3688."""
    assert f"{least_n(q)} for p{q * 100:.10g}" in section("Measures")
