"""The pages of wan.py, client.py, agree.py and engines are right: flags, defaults, profiles, members, reasons."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from bench import agree, client, wan
from bench.agreement import Agreement
from bench.classification.labels import Truth
from bench.classification.report import Walk, as_json
from bench.classification.score import Result, score
from bench.engines import __main__ as engines
from bench.engines.bar import Bar, Line
from bench.engines.parts import PARTS, Part
from bench.engines.table import as_json as part_as_json
from bench.engines.turns import Rate, ratio
from bench.network import carrier, jitter, profile, relay
from bench.network.profile import PROFILES, Profile, Way, in_words
from bench.network.tally import Tally
from gateway.client import Prediction
from gateway.client.errors import error_of
from gateway.client.results import Reading, Timing, result_of

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
WAN = (REFERENCE / "bench-wan.md").read_text(encoding="utf-8")
CLIENT = (REFERENCE / "bench-client.md").read_text(encoding="utf-8")
ENGINES = (REFERENCE / "bench-engines.md").read_text(encoding="utf-8")
AGREE = (REFERENCE / "bench-agree.md").read_text(encoding="utf-8")
EACH = pytest.mark.parametrize(
    ("page", "parser"),
    [(WAN, wan.parser()), (CLIENT, client.parser()), (AGREE, agree.parser()), (ENGINES, engines.parser())],
    ids=["wan", "client", "agree", "engines"],
)

READING = Reading("id", Timing({}, 1.0, 0.0, False), 1)


def rows(page: str, title: str) -> list[list[str]]:
    """The cells of the rows under a heading that begin with a name in backticks."""
    text = re.split(r"\n## ", page.split(f"## {title}\n", 1)[1])[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]


def names(cells: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cells)


@EACH
def test_each_flag_is_described_once(page: str, parser: argparse.ArgumentParser) -> None:
    """The tables have what the program takes, and nothing else."""
    taken = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    described = [name for row in rows(page, "Flags") for name in names(row[0])]
    assert sorted(described) == sorted(
        action.option_strings[-1] if action.option_strings else action.dest for action in taken
    )


@EACH
def test_defaults_are_as_said(page: str, parser: argparse.ArgumentParser) -> None:
    """A number in the last column is the parser's default."""
    defaults = {action.option_strings[-1]: action.default for action in parser._actions if action.option_strings}
    numbers = {names(row[0])[0]: row[2] for row in rows(page, "Flags") if len(row) == 3 and row[2].isdigit()}
    assert numbers
    assert {flag: float(defaults[flag]) for flag in numbers} == {flag: float(text) for flag, text in numbers.items()}


def profile_row(one: Profile) -> list[str]:
    """What the table says of a profile."""
    down = "the same" if one.down == one.up and one.name != "direct" else in_words(one.down)
    stalls = f"{one.stall_s * 1000:g} ms every {one.stall_every_s:g} s" if one.stall_every_s else "none"
    return [f"`{one.name}`", in_words(one.up), down, loss(one.up), stalls]


def loss(way: Way) -> str:
    runs = f" in runs of {way.loss_burst:g}" if way.loss_burst > 1 else ""
    return f"{way.loss * 100:g} %{runs}" if way.loss else "none"


def test_profiles_are_as_said() -> None:
    """Each row of the table is what the source gives."""
    assert rows(WAN, "Profiles") == [profile_row(one) for one in PROFILES.values()]


def test_distributions_and_bounds_are_as_said() -> None:
    """Names, shapes and limits in the text are those of the source."""
    text = " ".join(WAN.split())
    for name in jitter.DISTRIBUTIONS:
        assert f"`{name}`" in text
    assert f"`gamma` (shape {jitter.GAMMA_SHAPE})" in text
    assert f"(sigma {jitter.LOGNORMAL_SIGMA:g}; in the profile `wifi` {profile.WIFI.up.jitter.shape:g})" in text
    assert f"(Lomax, alpha {jitter.PARETO_ALPHA:g})" in text
    assert f"| {carrier.MAX_HELD_BYTES >> 20} MiB |" in text
    assert f"from {carrier.LEAST_PIECE_BYTES} bytes to {carrier.MOST_PIECE_BYTES >> 10} KiB" in text
    assert f"| {relay.MAX_CONNECTIONS}; one more" in text
    assert f"| {relay.CONNECT_TIMEOUT_S:g} s |" in text


def test_each_member_of_the_relays_report_is_described() -> None:
    """At every depth."""
    said = Tally().as_json()
    up = said["up"]
    assert isinstance(up, dict)
    described = {name for row in rows(WAN, "Report") for cell in row for name in names(cell)}
    assert described - {"--reset-every-s"} == set(said) | set(up) | set(up["late_us"])


def test_each_member_of_the_clients_object_is_described() -> None:
    """Of the object, of its score and of a result."""
    right = Result("a", [Prediction(1, "cat", 0.9)], "w", truth=Truth(2, "dog"))
    failed = Result("b", reason="bad_input")
    said = as_json(Walk("u", 2, [right, failed], 1.0, 1, 1, 0.0, score([right], 1)))
    results = [set(one) for one in said["results"]]
    members = set(said) | set(said["score"]) | set(said["score"]["top1"]) | results[0] | results[1]
    described = {name for row in rows(CLIENT, "JSON") for cell in row for name in names(cell)}
    assert described == members
    assert {"truth", "answer", "count", "probability", "example"} == set(said["score"]["confusions"][0])


def test_each_member_of_a_comparison_is_described() -> None:
    """Of the object, of a picture that was compared and of one that failed."""
    agreement = Agreement(1e-4)
    right = result_of("a", {"predictions": [{"index": 1, "label": "cat", "probability": 0.9}]}, READING)
    agreement.add("a", right, right)
    agreement.add("b", right, error_of("bad_input"))
    said = agreement.as_json()
    described = {name for row in rows(AGREE, "JSON") for cell in row for name in names(cell)} - {"random"}
    assert described == set(said) | set(said["worst"][0]) | set(said["failures"][0])


def test_each_part_of_the_engines_comparison_is_described() -> None:
    """By the name that --only takes, and with each member of what is written of it."""
    assert [names(row[0])[0] for row in rows(ENGINES, "Parts")] == list(PARTS)
    part = Part("t", [Line("l", ratio([1.0]), Bar(most=1))], [{"a": Rate(1, 1.0, {"worker": 1.0})}])
    said = part_as_json(part, "lag", 1.0)
    described = {name for row in rows(ENGINES, "JSON") for cell in row for name in names(cell)}
    about = {"schema", "model", "seed", "rounds", "block_s", "environment", "parts", "met", "missed"}
    assert described - about == (set(said) | set(said["lines"][0]) | set(said["systems"]["a"])) - about


def test_each_reason_is_described() -> None:
    """Those of a lost connection, and those that the client itself gives."""
    described = {name for row in rows(CLIENT, "Reasons") for name in names(row[0])}
    assert described == {"refused", "closed", "reset", "cut_off", "timeout"} | {
        "unreadable",
        "no_predictions",
        "bad_answer",
        "not_json",
        "http_STATUS",
        "not_sent",
    }
