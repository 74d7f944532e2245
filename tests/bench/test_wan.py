"""The command line of bench/wan.py: what replaces a profile's figures, and what is refused."""

from __future__ import annotations

import argparse
from collections.abc import Coroutine

import pytest

from bench import terminal, wan
from bench.errors import BenchError
from bench.network.profile import PROFILES, UNLIMITED, Jitter, to_json
from bench.network.tally import Tally


def flags(*words: str) -> argparse.Namespace:
    return wan.parser().parse_args(list(words))


def test_a_named_profile_is_taken_as_it_is() -> None:
    """--profile alone changes nothing."""
    for name, profile in PROFILES.items():
        assert wan.profile_of(flags("--profile", name)) == profile


def test_each_figure_can_be_replaced() -> None:
    """Every flag reaches both ways, in the units of its name."""
    profile = wan.profile_of(
        flags(
            *("--delay-ms", "20", "--jitter-ms", "3", "--distribution", "pareto", "--correlation-ms", "40"),
            *("--rate-mbit", "5", "--queue-ms", "250", "--loss", "0.01", "--loss-burst", "2", "--packets"),
            *("--stall-every-s", "30", "--stall-ms", "200", "--reset-every-s", "90"),
        )
    )
    for way in (profile.up, profile.down):
        assert way.jitter == Jitter("pareto", 0.003, 0.040)
        assert (way.delay_s, way.rate_bits_s, way.queue_s) == (0.020, 5e6, 0.250)
        assert (way.loss, way.loss_burst) == (0.01, 2.0)
    assert (profile.stall_every_s, profile.stall_s, profile.reset_every_s) == (30, 0.2, 90)


def test_no_rate_is_no_limit() -> None:
    """--rate-mbit 0 takes the limit away."""
    assert wan.profile_of(flags("--profile", "lte", "--rate-mbit", "0")).up.rate_bits_s == UNLIMITED


def test_figures_are_taken_whole() -> None:
    """--figures gives what the first line of --json said."""
    assert wan.profile_of(flags("--figures", to_json(PROFILES["wifi"]))) == PROFILES["wifi"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--loss", "0.1"], "--packets"),
        (["--congestion", "cubic"], "--packets"),
        (["--stall-every-s", "3"], "--stall-ms"),
        (["--profile", "direct", "--jitter-ms", "3"], "--distribution"),
        (["--figures", "{}"], "--figures"),
        (["--figures", "delay=3"], "--figures: not JSON"),
        (["--figures", to_json(PROFILES["lte"]).replace("exponential", "bimodal")], "bimodal"),
    ],
)
def test_what_makes_no_sense_is_said(words: list[str], said: str) -> None:
    """Each mistake names the flag that it needs."""
    with pytest.raises(BenchError, match=said):
        wan.profile_of(flags(*words))


@pytest.mark.parametrize(
    "words",
    [
        ["--delay-ms", "-1"],
        ["--delay-ms", "nan"],
        ["--loss", "1"],
        ["--loss-burst", "0.5"],
        ["--profile", "moon"],
        ["--queue-ms", "1e9"],
    ],
)
def test_figures_out_of_range_are_refused(words: list[str]) -> None:
    """They are a mistake of the command line: status 2."""
    with pytest.raises(SystemExit) as ended:
        flags(*words)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--to HOST:PORT says where"),
        (["--to", "8443"], "--to 8443"),
        (["--to", "host:x"], "--to host:x"),
        (["--to", "host:0"], "port 0"),
        (["--to", "host:1", "--listen", "70000"], "--listen 70000"),
    ],
)
def test_addresses_are_checked_before_anything_listens(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A message on standard error and status 2."""
    assert wan.main(words) == wan.BAD_INPUT
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("words", "status"), [(["--to", "localhost:1"], 0), (["--self-test"], 130)])
def test_ctrl_c_ends_a_relay_and_interrupts_a_self_test(
    words: list[str], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay runs until then; a self-test that was not finished is none."""

    def interrupted(running: Coroutine[object, object, None]) -> None:
        running.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(wan, "run_loop", interrupted)
    assert wan.main(words) == status


def test_a_relay_that_nobody_used_was_not_late(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a delivery the last lines say so, and give no figure."""
    tally = Tally()
    tally.up.lateness.add(2000)
    wan._say_end(terminal.plain(), tally, is_json=False)
    _, up, down = capsys.readouterr().out.splitlines()
    assert "late by itself p50 2.0 us" in up
    assert down.endswith("0 stalls; nothing passed")
