"""A network in between: through a real relay, and what is said of one that fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import between
from bench.ab import add_ab_flags, measure_pair, pair_of
from bench.between import Network, link_to
from bench.errors import BenchError
from bench.flags import parser, settings_of
from bench.load.target import Picture, Target
from bench.measure.summary import verdicts_of
from bench.network.process import RunningNetwork
from bench.network.profile import PROFILES
from bench.report.result import document, show
from bench.session import measure
from tests.support.certificates import made
from tests.support.scripted_server import answer, scripted_server
from tests.support.summaries import example_samples, example_summary, network

OK = answer(b"{}", "200 OK")
FEW = ("--rate", "200", "--count", "10", "--warm-up", "0s")


@pytest.fixture(autouse=True)
def not_the_main_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.session._interrupts", lambda *_: contextlib.nullcontext())


async def test_requests_go_through_the_relay_under_the_server_s_name(tmp_path: Path) -> None:
    """The certificate is that of the real name, the Host header too, and every response time holds the profile's
    delay: 30 ms each way."""
    certificates = made(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    heads: list[bytes] = []

    async def reply(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        await OK(head, body, writer)

    async with scripted_server(reply, context) as url:
        words = [
            "--url",
            f"{url}/x",
            "--ca-file",
            str(certificates / "ca.pem"),
            "--network",
            "lte",
            "--network-seed",
            "7",
        ]
        outcome = await measure(settings_of(parser("bench", "").parse_args([*words, *FEW])), Console(quiet=True), [])
    summary = outcome.summarize()
    assert all(f"\r\nHost: {url.removeprefix('https://')}\r\n".encode() in head for head in heads)
    assert len(heads) == 11
    assert summary["run"]["url"] == f"{url}/x"
    assert summary["response_ms"]["min"] > 60
    (said,) = summary["networks"]
    assert (said["profile"], said["seed"], said["error"]) == ("lte", 7, "")
    assert said["relay"]["connections"] > 0
    assert said["adds_ms"].keys() == {"p50", "p99"}
    assert json.loads(json.dumps(summary["networks"])) == summary["networks"]


async def test_each_arm_has_a_network_of_its_own() -> None:
    """--network-b puts one before B alone, and the result says before whom."""
    made_parser = parser("bench", "")
    add_ab_flags(made_parser)
    async with scripted_server(OK) as url:
        pair = pair_of(made_parser.parse_args(["--ab", f"{url}/x", f"{url}/x", "--network-b", "transatlantic", *FEW]))
        assert pair is not None
        summary = (await measure_pair(pair, Console(quiet=True), [])).summarize()
    assert [(one["arm"], one["profile"]) for one in summary["networks"]] == [("B", "transatlantic")]
    assert [one["url"] for one in summary["arms"]] == [f"{url}/x", f"{url}/x over transatlantic"]
    first, second = summary["arms"]
    assert second["response_ms"]["min"] - first["response_ms"]["min"] > 70


def test_a_network_for_the_second_needs_a_second() -> None:
    """--network-b without --ab is refused."""
    made_parser = parser("bench", "")
    add_ab_flags(made_parser)
    with pytest.raises(BenchError, match="--network-b goes with --ab"):
        pair_of(made_parser.parse_args(["--url", "http://host/x", "--network-b", "lan"]))


async def test_a_relay_that_dies_takes_no_data_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The block ends well, and the link says how the relay ended."""

    @contextlib.asynccontextmanager
    async def dying(*_: Any, **__: Any) -> AsyncIterator[RunningNetwork]:
        yield RunningNetwork(1)
        raise BenchError("the relay ended with status -9: ")

    async def adds(_seed: int) -> dict[str, float]:
        return {"p50": 0.1, "p99": 0.2}

    monkeypatch.setattr(between, "network", dying)
    monkeypatch.setattr(between, "added_ms", adds)
    target = Target("http://host/x", (Picture("", "image/png", b""),))
    async with link_to(target, Network(PROFILES["lte"], 1)) as link:
        assert link.target.url == "http://127.0.0.1:1/x"
    (said,) = link.as_json("B")
    assert (said["arm"], said["relay"], said["error"]) == ("B", None, "the relay ended with status -9: ")


def test_what_is_said_of_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    """Table and page name the profile and what the relay adds; a late relay and one that died are verdicts, a good one
    is none."""
    samples = example_samples()
    summary = example_summary(samples)
    show(Console(width=200), summary)
    line = "lte, seed 7: up 30 ms, down 30 ms. The relay itself adds 0.100 ms to a round trip at p50, 0.500 ms at p99"
    assert line in capsys.readouterr().out
    assert line in document(samples, summary)
    assert verdicts_of([network()]) == []
    assert verdicts_of([network(late_us=2500.0)]) == [
        "the network in between was late by itself, by 2.5 ms at p99: the machine is busy"
    ]
    assert verdicts_of([{**network(error="gone"), "arm": "B"}]) == ["the network before B ended badly: gone"]
