"""Two systems in one run: who gets what, and what is said of each."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from pathlib import Path

import pytest

from bench import test as program
from bench.ab import add_ab_flags, pair_of
from bench.errors import BenchError
from bench.flags import parser
from bench.load.arms import Order
from bench.report.files import read_result
from tests.support.scripted_server import answer, scripted_server

OK = answer(b'{"worker": "w"}', "200 OK", "Server-Timing: total;dur=0.1")


def flags_of(*arguments: str) -> argparse.Namespace:
    made = parser("bench", "")
    add_ab_flags(made)
    return made.parse_args(arguments)


@pytest.fixture
def main_thread_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals belong to the main thread, which serves here."""
    monkeypatch.setattr(program.signal, "signal", lambda *_: None)
    monkeypatch.setattr("bench.session._interrupts", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(program, "run_loop", asyncio.run)


@pytest.mark.usefixtures("main_thread_only")
async def test_one_run_measures_both(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each request goes where the seeded order says; both arms, the comparison and the report are in the result."""
    bodies: dict[str, list[bytes]] = {"a": [], "b": []}

    async def serve(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        bodies[head.split(b" ")[1].decode()[1]].append(body)
        await OK(head, body, writer)

    async with scripted_server(serve) as url:
        arguments = ["--ab", f"{url}/a", f"{url}/b", "--ab-names", "near", "far", "--seed", "3", "--out", str(tmp_path)]
        arguments += ["--rate", "1000", "--count", "80", "--warm-up", "20"]
        assert await asyncio.to_thread(program.main, arguments) == 0
    result = read_result(tmp_path)
    order = Order(3)
    labels = [result.samples.labels[code] for code in result.samples.rows["label"]]
    assert labels == [("near", "far")[order.arm(index)] for index in range(100)]
    # after the one that sees that all is well, partners carry the same pictures
    assert len(bodies["a"]) == len(bodies["b"]) == 51
    assert sorted(bodies["a"]) == sorted(bodies["b"])
    assert len(set(bodies["a"])) == 10
    summary = result.summary
    assert [arm["name"] for arm in summary["arms"]] == ["near", "far"]
    assert [arm["url"] for arm in summary["arms"]] == [f"{url}/a", f"{url}/b"]
    assert [arm["rates"]["succeeded"] for arm in summary["arms"]] == [40, 40]
    # neighbours of an arm are its own: every step but the first has one before it
    assert all(arm["jitter_ms"]["ipdv_mean"] is not None for arm in summary["arms"])
    assert summary["comparison"]["is_interleaved"] is True
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "near against far" in page
    assert "far / near" in capfd.readouterr().out


@pytest.mark.usefixtures("main_thread_only")
async def test_the_one_that_does_not_answer_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    """Status 2 before the run, with the arm's name and address."""
    async with scripted_server(OK) as url:
        status = await asyncio.to_thread(program.main, ["--ab", f"{url}/a", "http://127.0.0.1:1/b", "--count", "5"])
    assert status == 2
    assert "B: http://127.0.0.1:1/b: nothing listens there" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("url_b", "options", "token"),
    [
        ("https://one.test:9/x", [], "of-a"),
        ("https://two.test/x", [], ""),
        ("https://two.test/x", ["--token-file-b", "b.token"], "of-b"),
        ("https://one.test:9/x", ["--token-file-b", "b.token"], "of-b"),
    ],
)
def test_a_token_stays_with_its_host(
    url_b: str, options: list[str], token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B gets the token of A only on the same host."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.token").write_text("of-a")
    (tmp_path / "b.token").write_text("of-b")
    pair = pair_of(flags_of("--ab", "https://one.test/x", url_b, "--token-file", "a.token", *options))
    assert pair is not None
    assert pair.first.target.token == "of-a"
    assert pair.second.target.token == token


def test_a_token_of_the_environment_stays_with_its_host_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """BENCH_TOKEN is that of A."""
    monkeypatch.setenv("BENCH_TOKEN", "secret")
    pair = pair_of(flags_of("--ab", "http://one.test/x", "http://two.test/x"))
    assert pair is not None
    assert (pair.first.target.token, pair.second.target.token) == ("secret", "")


def test_a_gateway_may_serve_both_with_two_models() -> None:
    """An address without a path takes the model of its side."""
    pair = pair_of(flags_of("--ab", "http://one.test", "http://one.test", "--model", "tf", "--model-b", "cv"))
    assert pair is not None
    assert [one.target.url for one in (pair.first, pair.second)] == [
        "http://one.test/inference/tf",
        "http://one.test/inference/cv",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model-b", "x"), "--model-b goes with --ab"),
        (("--ab", "http://a.test", "http://b.test", "--ab-names", "x", "x"), "two different names"),
        (("--ab", "http://a.test", "http://b.test", "--ab-names", "", "x"), "two different names"),
        (("--ab", "nonsense", "http://b.test"), "is not an address"),
        (("--ab", "http://a.test", "nonsense"), "is not an address"),
    ],
)
def test_bad_flags_are_said(arguments: tuple[str, ...], message: str) -> None:
    """Before anything is sent."""
    with pytest.raises(BenchError, match=message):
        pair_of(flags_of(*arguments))


def test_without_ab_there_is_no_pair() -> None:
    """A plain run stays one."""
    assert pair_of(flags_of()) is None
