"""What the page claims: the ranking of the policies, not their milliseconds; and that its program runs."""

from __future__ import annotations

import math
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from bench import sim
from bench.simulation import page, studies
from bench.simulation.scenario import Scenario, parse_fleet
from bench.simulation.studies import AT_ONCE, LATE, Contender, ratio_to_ideal

ROOT = Path(__file__).parents[2]
UNSTABLE = math.inf


@cache
def p99(label: str, condition: str) -> float:
    """A cell of the table, in ms, of a run a tenth as long as the page's."""
    (contender,) = (one for one in (*AT_ONCE, *LATE) if one.label == label)
    outcome = contender.run(studies.table_conditions(0.1)[condition])
    return outcome.quantile_ms(0.99) if outcome.is_stable else UNSTABLE


@pytest.mark.parametrize("load", ["load 0.3", "0.6", "0.85"])
def test_blind_and_bound_at_once_is_unstable(load: str) -> None:
    """Bound at once, round robin and random overload the slow workers at a third of the capacity already."""
    assert p99("round_robin, bound at once", load) == p99("random, bound at once", load) == UNSTABLE


@pytest.mark.parametrize("load", ["load 0.3", "0.6", "0.85"])
def test_default_beats_fewest_outstanding(load: str) -> None:
    """least_loaded is well under fewest outstanding bound at once, at every load: a balancer that knows no speed."""
    assert p99("least_loaded", load) < 0.6 * p99("least_conn, bound at once", load)


def test_two_choices_fall_behind() -> None:
    """Two random choices by outstanding jobs hold at 0.3, far behind, and not at 0.6."""
    assert 2 * p99("least_conn, bound at once", "load 0.3") < p99("power_of_two, bound at once", "load 0.3") < UNSTABLE
    assert p99("power_of_two, bound at once", "0.6") == UNSTABLE


@pytest.mark.parametrize("load", ["load 0.3", "0.6"])
def test_waiting_for_the_fast_pays(load: str) -> None:
    """Below the load where everyone is needed, least_loaded has half the p99 of any policy that never waits."""
    assert 2 * p99("least_loaded", load) < min(p99(one.label, load) for one in LATE if one.label != "least_loaded")


@pytest.mark.parametrize("condition", ["0.85", "0.5, a fast one stalls", "6 equal, 0.85"])
def test_default_does_not_lose(condition: str) -> None:
    """Where everyone is needed, where a worker stalls, where all are equal: least_loaded is within a tenth of the best
    policy that binds late."""
    assert p99("least_loaded", condition) < 1.1 * min(p99(one.label, condition) for one in LATE)


@pytest.mark.parametrize(
    ("fleet", "service", "load", "most"),
    [("300x50ms@10ms", "exponential", 0.7, 1.05), ("300x50ms@10ms", "exponential", 0.85, 1.1)],
)
def test_luck_is_not_speed(fleet: str, service: str, load: float, most: float) -> None:
    """Equal workers whose times vary: least_loaded does not queue behind those that look fast, as an estimate of a few
    jobs would have it."""
    scenario = Scenario(parse_fleet(fleet), load, 20_000, service=service)
    least_loaded, least_conn = (Contender(name, name).run(scenario).quantile_ms(0.99) for name in studies.REAL[:2])
    assert least_loaded < most * least_conn


def test_short_jobs_in_runs_do_not_starve_distant_workers() -> None:
    """Exponential times, 20 ms away, load 0.92: enough is sent ahead for a p99 under 1.5 times the ideal queue's."""
    scenario = Scenario(parse_fleet("4x8ms@20ms"), 0.92, 20_000, service="exponential")
    assert ratio_to_ideal(Contender("least_loaded", "least_loaded").run(scenario), scenario) < 1.5


def test_little_stands_behind_a_long_job() -> None:
    """One job in ten takes eleven times as long as the others: p99 is under 1.3 times the ideal queue's."""
    scenario = Scenario(parse_fleet("6x40ms@10ms"), 0.7, 20_000, service="bimodal")
    assert ratio_to_ideal(Contender("least_loaded", "least_loaded").run(scenario), scenario) < 1.3


@pytest.mark.parametrize("rtt_ms", [0, 1, 5])
def test_four_echo_workers(rtt_ms: int) -> None:
    """Four workers of 20 ms at load 0.7: p99 at most 1.15 times the ideal central queue's."""
    scenario = Scenario(parse_fleet(f"4x20ms@{rtt_ms}ms"), 0.7, 20_000)
    assert ratio_to_ideal(Contender("least_loaded", "least_loaded").run(scenario), scenario) <= 1.15


def test_losses_cost_no_client_an_error() -> None:
    """A worker that dies ten times: every job is answered, some of them in a second attempt."""
    _, at_once, _, late = studies.losses(lambda what: None, scale=0.2)
    for row in (at_once, late):
        assert row[1] == row[2]
        assert int(row[3].replace(",", "")) > 0
        assert row[4] == "0"


def test_page_has_every_block_and_picture(tmp_path: Path) -> None:
    """The program fills every block of the real page, and draws the pictures that it shows, each under 150 kB."""
    copy = tmp_path / page.PAGE.name
    copy.write_text(page.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    page.write_page(lambda what: None, copy, scale=0.005)
    written = copy.read_text(encoding="utf-8")
    assert written.count("<!-- sim:") == written.count("<!-- end -->") == 1 + len(page.TABLES)
    assert "Made by `python bench/sim.py page`" in written
    for picture in tmp_path.glob("*.svg"):
        assert f"({picture.name})" in written
        assert picture.stat().st_size < 150_000
    assert len(list(tmp_path.glob("*.svg"))) == 2


def test_page_without_a_block_is_an_error() -> None:
    """A block that the page lacks is named."""
    with pytest.raises(ValueError, match="no block named table"):
        page.replaced("nothing here", "table", "")


def test_run_prints_and_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """`run` shows the ideal queue and each policy, and exits with 0 when every promise was kept."""
    arguments = ["run", "--jobs", "300", "--policy", "least_loaded", "--policy", "random", "--fleet", "2x5ms@1ms"]
    assert sim.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["ideal", "least_loaded", "random"]


@pytest.mark.parametrize("bad", [["--load", "0"], ["--jobs", "none"], ["--fleet", "fast"], ["--policy", "best"]])
def test_bad_arguments(bad: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A flag that cannot be understood is named, and nothing runs."""
    with pytest.raises(SystemExit, match="2"):
        sim.main(["run", *bad])
    assert bad[0] in capsys.readouterr().err


@pytest.mark.parametrize("how", [["bench/sim.py"], ["-m", "bench.sim"]])
def test_both_ways_to_start_it(how: list[str]) -> None:
    """The program starts as a file and as a module, from the repository."""
    done = subprocess.run([sys.executable, *how, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "page" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--fleet", "2x"], "'2x' is no group of workers; an example is 4x80ms/2@10ms"),
        (["run", "--load", "much"], "'much' is not a number above 0"),
        (["run", "--jobs", "0"], "'0' is not a number above 0"),
        ([], "required: COMMAND"),
    ],
)
def test_a_flag_that_cannot_be_read_is_told_by_an_example(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message has the reason, not the name of a function."""
    with pytest.raises(SystemExit) as left:
        sim.main(words)
    assert left.value.code == 2
    assert said in capsys.readouterr().err


def test_ctrl_c_ends_it_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status is a shell's for an interrupted program, and one line says what happened."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sim, "simulate", interrupted)
    assert sim.main(["run", "--jobs", "100"]) == sim.INTERRUPTED
    assert capsys.readouterr().err == "sim: interrupted\n"
