"""Blocks put together, bars read from them, tables written of them, and two runs compared by their ratios."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bench import compare
from bench.errors import BenchError
from bench.peers.bars import Bar, bars_of
from bench.peers.baseline import Ratio, changes, ratios_of, read_ratios
from bench.peers.measure import Found, Plan, order
from bench.peers.results import Cell, cells_of, failed
from bench.peers.slow_link import Slow
from bench.peers.table import Grid, markdown
from tests.support.peers_run import PLAN, comparison, found_of, measured


def bars(found: Found, slow: list[Slow] | None = None) -> dict[str, Bar]:
    return {bar.text: bar for bar in bars_of(cells_of(found), ["ssh", "frp"], slow or [])}


def cell(found: Found, system: str) -> Cell:
    return cells_of(found)[system, 1000, 4]


def test_rounds_are_put_together() -> None:
    """Percentiles over all samples, costs as sums by sums, and each round beside them."""
    one = cell(found_of(), "echo")
    assert (one.all.requests, one.all.p50_ms, one.all.p99_ms) == (800, 1.5, 1.5)
    assert one.all.requests_s == 400
    assert one.all.cpu_us == pytest.approx(105)
    assert [number.cpu_us for number in one.rounds] == [pytest.approx(100), pytest.approx(110)]
    assert one.part_cpu_us == {"public": pytest.approx(70, rel=0.01), "private": pytest.approx(35, rel=0.01)}
    assert one.generator_share == pytest.approx(0.1)


def test_the_upstream_is_not_charged() -> None:
    """It is shown beside."""
    one = cell(found_of(), "ssh")
    assert one.all.cpu_us == pytest.approx(80)
    assert one.part_cpu_us["upstream"] == pytest.approx(20)


def test_too_few_answers_have_no_percentile() -> None:
    """p99 takes 368; without any answer there is no number at all."""
    few = measured("echo", 1.0, 1.0)
    few.block.latencies_ns = few.block.latencies_ns[:367]
    none = measured("ssh", 1.0, 1.0)
    none.block.latencies_ns, none.block.failures = array("q"), Counter({"closed": 4})
    cells = cells_of(Found([few, none]))
    assert cells["echo", 1000, 4].all.p50_ms == 1.0
    assert cells["echo", 1000, 4].all.p99_ms is None
    empty = cells["ssh", 1000, 4].all
    assert (empty.requests, empty.p50_ms, empty.requests_s, empty.cpu_us) == (0, None, None, None)
    assert failed(cells.values()) == {"ssh": "4 closed"}
    assert not list(bars_of(cells, ["ssh"], []))


def test_bars_are_ratios_to_the_best_tunnel() -> None:
    """Each measure has its own best; nginx without a tunnel is none; rounds are to the same peer."""
    found = bars(found_of())
    cpu, p50 = found["CPU, 1 kB"], found["p50, 1 kB"]
    assert (cpu.against, cpu.value, cpu.bound, cpu.verdict) == ("ssh", pytest.approx(105 / 80), 1.0, "missed")
    assert cpu.rounds == [pytest.approx(100 / 80), pytest.approx(110 / 80)]
    assert (p50.against, p50.value) == ("frp", 1.5)
    whole = found["CPU, 1 kB, the peers' upstream counted too"]
    assert (whole.value, whole.bound, whole.verdict) == (pytest.approx(105 / 100), None, "")
    assert (found["CPU, 100 kB"].bound, found["p50, 100 kB"].bound) == (0.75, 0.7)
    assert bars(found_of(50.0))["CPU, 1 kB"].verdict == "met"


def test_a_peer_that_failed_a_request_is_not_the_best() -> None:
    """Nor has it a ratio to compare later; what ours costs is then by the next best."""
    found = found_of()
    for one in found.blocks:
        if one.system == "ssh":
            one.block.failures["closed"] = 1
    assert bars(found)["CPU, 1 kB"].against == "frp"
    assert {one.peer for one in comparison(found).ratios()} == {"frp", "nginx"}


def test_bars_of_the_http_backend() -> None:
    """Aimed at from 100 kB on."""
    blocks = [measured(name, 1.0, 10.0, size=size) for name in ("ssh", "http") for size in PLAN.sizes]
    found = bars(Found(blocks))
    assert [found[f"CPU, {size}, http backend"].bound for size in ("1 kB", "100 kB")] == [None, 1.0]
    assert "CPU, 1 kB" not in found


def test_the_same_worker_has_lines_of_its_own() -> None:
    """After all others, by the best tunnel before it, with nothing aimed at; the others are what they are without."""
    found = found_of()
    found.blocks += [measured("ssh+worker", 3.0, 210.0), measured("frp+worker", 0.5, 420.0)]
    cells = cells_of(found)
    without = bars_of(cells, ["ssh", "frp"], [])
    made = bars_of(cells, ["ssh", "frp"], [], ["ssh+worker", "frp+worker"])
    assert made[: len(without)] == without
    cpu, p50, p99 = made[len(without) :]
    assert cpu.text == "CPU, 1 kB, the same worker behind the tunnel, its CPU counted"
    assert (cpu.against, cpu.value, cpu.rounds) == ("ssh+worker", pytest.approx(0.5), [pytest.approx(100 / 210)])
    assert (p50.against, p50.value, p99.value) == ("frp+worker", 3.0, 3.0)
    assert {(one.bound, one.verdict) for one in (cpu, p50, p99)} == {(None, "")}


def test_bars_of_the_slow_link() -> None:
    """How much later at p99, at most; which share of the link, at least."""
    slow = [Slow("echo", 52.0, 54.0, 60.0, 80.0, (300, 300), 0.84, 0), Slow("ssh", 1, 1, 1, 1, (1, 1), 1.0, 0)]
    found = bars(found_of(), slow)
    extra, share = (
        found["slow link, echo: ms more at p99 during an upload"],
        found["slow link, echo: the upload's share"],
    )
    assert (extra.value, extra.verdict) == (26.0, "missed")
    assert (share.value, share.verdict) == (0.84, "missed")
    assert not [text for text in found if "ssh" in text]


def test_the_order_is_interleaved() -> None:
    """Every round has each system once, in the same turn but not always from the same one."""
    blocks = list(order(["a", "b", "c"], Plan([1], [1, 4], rounds=6, block_s=1.0, seed=1)))
    rounds = ["".join(name for _, _, name in blocks[at : at + 3]) for at in range(0, len(blocks), 3)]
    assert set(rounds) == {"abc", "bca", "cab"}
    assert [(concurrency, number) for concurrency, number, _ in blocks[::3]] == [
        (c, n) for c in (1, 4) for n in range(6)
    ]


def test_some_are_measured_for_bars_alone() -> None:
    """At 4 connections, or at the fewest; the time that it takes is said accordingly."""
    plan = Plan([1, 2], [1, 4, 32], rounds=2, block_s=0.7, seed=1, only_for_bars=["b", "c"])
    blocks = list(order(["a", "b"], plan))
    assert {number for number, _, name in blocks if name == "a"} == {1, 4, 32}
    assert {number for number, _, name in blocks if name == "b"} == {4}
    assert plan.seconds(["a", "b"]) == pytest.approx(2 * len(blocks))
    assert {number for number, _, _ in order(["b"], replace(plan, concurrencies=[32, 8]))} == {8}


def test_files(tmp_path: Path) -> None:
    """All numbers as JSON, the tables as Markdown, a picture."""
    comparison(found_of(96.0)).write(tmp_path)
    document = json.loads((tmp_path / "peers.json").read_text())
    assert [one["system"] for one in document["cells"][:4]] == ["ssh", "frp", "nginx", "echo"]
    assert document["skipped"] == {"piko": "not here"}
    text = (tmp_path / "peers.md").read_text()
    assert "`d`" in text
    assert "| ssh | 2 | 2 | 400 |" in text
    assert "| CPU, 1 kB | 1.260 | 1.20 to 1.32 | ssh | at most 1 | missed |" in text
    assert (tmp_path / "peers.svg").read_text().startswith("<?xml")


def test_a_peer_that_fails_is_not_our_failure() -> None:
    """It is named, and the run is sound while this project's own systems are."""
    made = comparison(found_of())
    made.broken["frp"] = "4 closed"
    assert made.is_sound()
    made.broken["http"] = "1 http_500"
    assert not made.is_sound()


def test_markdown_keeps_its_columns() -> None:
    """A bar in a cell is escaped."""
    assert markdown(Grid("t", ("a", "b"), [("x|y", "1")])) == "**t**\n\n| a | b |\n| :-- | --: |\n| x\\|y | 1 |\n"


def run_compare(*arguments: object) -> int:
    return compare.main([str(one) for one in arguments])


def test_a_regression_shows_against_a_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1 with --relative where every round is worse beyond the tolerance; the same run again is not."""
    baseline, slower = tmp_path / "baseline.json", tmp_path / "slower"
    first = comparison(found_of())
    first.write_baseline(baseline)
    first.write(tmp_path / "same")
    comparison(found_of(150.0)).write(slower)
    assert run_compare("--relative", baseline, tmp_path / "same", "--tolerance", "5") == 0
    assert run_compare("--relative", baseline, slower, "--tolerance", "60") == 0
    assert run_compare(baseline, slower) == 0
    assert run_compare("--relative", baseline, slower, "--tolerance", "5") == 1
    said = capsys.readouterr()
    assert "echo: CPU, 1 kB; echo: CPU, 100 kB\n" in said.err
    assert "1.500" in said.out
    assert "p50" not in said.err


def test_changes_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the peers that both runs have, with the range of the rounds."""
    comparison(found_of()).write_baseline(tmp_path / "a.json")
    without = found_of(200.0)
    without.blocks = [one for one in without.blocks if one.system != "frp"]
    comparison(without).write(tmp_path / "b")
    assert run_compare("--json", tmp_path / "a.json", tmp_path / "b") == 0
    cpu = json.loads(capsys.readouterr().out)[0]
    assert cpu["text"] == "echo: CPU, 1 kB"
    assert cpu["peers"] == ["nginx", "ssh"]
    assert (cpu["change"], cpu["low"], cpu["high"]) == pytest.approx((2.0, 200 / 105, 220 / 105))


def test_ratios_come_back_as_they_were(tmp_path: Path) -> None:
    """From the file of a baseline and from the directory of a result."""
    made = comparison(found_of())
    made.write(tmp_path / "out")
    made.write_baseline(tmp_path / "baseline.json")
    assert read_ratios(tmp_path / "out") == read_ratios(tmp_path / "baseline.json") == made.ratios()
    assert list(ratios_of(made.cells, ["http"], ["ssh"])) == []


def test_what_cannot_be_compared_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2: one result alone, no JSON, another schema, nothing in common, a report."""
    good, empty, other = tmp_path / "good.json", tmp_path / "empty.json", tmp_path / "other.json"
    comparison(found_of()).write_baseline(good)
    empty.write_text("{")
    other.write_text('{"schema": 1}')
    for arguments, message in (
        ((good,), "name a second result"),
        ((good, empty), "holds no ratios"),
        ((good, other), "not of schema"),
        ((good, empty, "--out", tmp_path), "no common report"),
    ):
        assert run_compare(*arguments) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(BenchError, match="in common"):
        changes([Ratio("echo", "ssh", 1, "CPU", 1.0, [])], [Ratio("echo", "frp", 1, "CPU", 1.0, [])])
