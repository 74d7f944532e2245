"""The command line: what each flag makes of the plan, and what is refused."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.flags import Settings, parser, settings_of
from bench.load.arrivals import NS, WarmUp
from bench.load.target import DEMO


def settings(*arguments: str) -> Settings:
    return settings_of(parser("bench", "").parse_args(["--url", "http://host/x", *arguments]))


def offsets(made: Settings, count: int) -> list[int]:
    assert made.plan.arrivals is not None
    return list(islice(made.plan.arrivals.start(), count))


def test_with_no_flags_it_is_the_demo() -> None:
    """The demo's gateway and model, ten digits, Poisson at 50/s, ten seconds after one of warm-up, connections
    unbounded."""
    made = settings_of(parser("bench", "").parse_args([]))
    assert made.target.url == "https://localhost:8443/inference/digits"
    assert made.is_demo
    assert len(made.target.pictures) == 10
    assert (made.kind, made.rate, made.connections, made.keep_alive) == ("poisson", 50, 0, True)
    assert (made.plan.duration_ns, made.plan.count, made.plan.warm_up) == (11 * NS, None, WarmUp(NS))
    assert bool(made.target.token) is (DEMO / "client.token").exists()


def test_each_kind_of_arrivals(tmp_path: Path) -> None:
    """Constant, Poisson with its seed, bursts of a size, a trace to its end."""
    assert offsets(settings("--arrivals", "constant", "--rate", "4"), 3) == [0, NS // 4, NS // 2]
    assert offsets(settings("--seed", "3"), 9) == offsets(settings("--seed", "3"), 9) != offsets(settings(), 9)
    assert offsets(settings("--arrivals", "burst", "--rate", "4", "--burst-size", "2"), 3) == [0, 0, NS // 2]
    (tmp_path / "t").write_text("0\n1\n")
    made = settings("--arrivals", "trace", str(tmp_path / "t"))
    assert offsets(made, 9) == [0, NS]
    assert (made.plan.duration_ns, made.plan.count, made.rate) == (None, None, None)


def test_a_closed_loop_has_a_connection_for_each() -> None:
    """One, or as many as said."""
    assert (settings("--arrivals", "closed").plan.closed_loops, settings("--arrivals", "closed").connections) == (1, 1)
    assert settings("--arrivals", "closed", "--connections", "8").plan.closed_loops == 8
    assert settings("--connections", "8").plan.closed_loops == 0


@pytest.mark.parametrize(
    ("arguments", "duration_s", "count", "warm_up"),
    [
        (["--duration", "5"], 6, None, WarmUp(NS)),
        (["--duration", "5", "--warm-up", "0s"], 5, None, WarmUp()),
        (["--count", "100"], None, 150, WarmUp(count=50)),  # a second at 50/s
        (["--count", "100", "--warm-up", "7"], None, 107, WarmUp(count=7)),
        (["--count", "100", "--warm-up", "0"], None, 100, WarmUp()),
    ],
)
def test_the_warm_up_comes_on_top(
    arguments: list[str], duration_s: float | None, count: int | None, warm_up: WarmUp
) -> None:
    """What is asked for is what is measured; the rule is in the plan."""
    plan = settings(*arguments).plan
    assert (plan.duration_ns and plan.duration_ns / NS, plan.count, plan.warm_up) == (duration_s, count, warm_up)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arrivals", "sometimes"], "one of constant, poisson"),
        (["--arrivals", "trace"], "takes one FILE"),
        (["--arrivals", "constant", "file"], "takes nothing after it"),
        (["--warm-up", "50"], "goes with --count"),
        (["--images", "no-such-folder"], "there is no no-such-folder"),
        (["--arrivals", "closed", "--connections", "99999"], "at most"),
    ],
)
def test_what_does_not_go_together(arguments: list[str], message: str) -> None:
    """Said before anything is sent."""
    with pytest.raises(BenchError, match=message):
        settings(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rate", "0"],
        ["--rate", "nan"],
        ["--rate", "fast"],
        ["--count", "0"],
        ["--timeout", "-1"],
        ["--connections", "-1"],
        ["--warm-up", "soon"],
        ["--warm-up", "-1s"],
        ["--warm-up", "-1"],
        ["--warm-up", "infs"],
        ["--answer", "xml"],
    ],
)
def test_what_is_no_value(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Refused with the flag's name, as every command line does."""
    with pytest.raises(SystemExit) as ended:
        settings(*arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "fast"], "'fast' is not a number"),
        (["--count", "1.5"], "'1.5' is not a whole number"),
        (["--rate", "1e9"], "1e9 is not above 0 and below 1e9"),
    ],
)
def test_what_is_no_number_is_said_in_words(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rather than in the name of a function."""
    with pytest.raises(SystemExit):
        settings(*arguments)
    assert f"argument {arguments[0]}: {message}\n" in capsys.readouterr().err
