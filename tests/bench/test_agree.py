"""bench/agree.py with servers that answer as a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bench import agree
from bench.agree import AGREED, APART, BAD_INPUT, main, parser, sides_of
from bench.agreement import Agreement, compare
from bench.errors import BenchError
from gateway.client import Result
from gateway.client.errors import error_of
from gateway.client.results import Reading, Timing, result_of
from tests.support.picture_server import Handler, served

READING = Reading("id", Timing({}, 1.0, 0.0, False), 1)
LABELS = ("ant", "bee", "cat")


def document(*probabilities: float, labels: Mapping[int, str] | None = None, worker: str = "w") -> dict[str, Any]:
    """An answer with a probability for each class from 0, the likeliest first."""
    names = labels or dict(enumerate(LABELS))
    given = [
        {"index": at, "label": names[at], "probability": probability} for at, probability in enumerate(probabilities)
    ]
    given.sort(key=lambda one: float(str(one["probability"])), reverse=True)
    return {"model": "m", "worker": worker, "predictions": given}


def result(*probabilities: float, labels: Mapping[int, str] | None = None) -> Result:
    made = result_of("p", document(*probabilities, labels=labels), READING)
    assert isinstance(made, Result)
    return made


def test_the_class_that_differs_most_counts() -> None:
    """Over all classes, and not only the likeliest."""
    one = compare("p", result(0.6, 0.3, 0.1), result(0.61, 0.1, 0.29))
    assert one.difference == pytest.approx(0.2)
    assert one.label == "bee"
    assert one.is_same
    assert one.tops == ("ant", "ant")


def test_another_first_label_is_seen() -> None:
    """However small the difference is."""
    one = compare("p", result(0.50001, 0.5), result(0.5, 0.50001))
    assert not one.is_same
    assert one.tops == ("ant", "bee")


def test_what_an_answer_leaves_out_counts_for_the_most_that_it_can_be() -> None:
    """A class that one side did not give is between 0 and the least that this side gave."""
    longer = result(0.6, 0.39, 0.01)
    assert compare("p", longer, result(0.6, 0.39)).difference == pytest.approx(0.38)
    assert compare("p", result(0.6, 0.005), result(0.6, 0.005, 0.003)).difference == pytest.approx(0.003)


def test_two_numberings_are_no_difference_but_a_mistake() -> None:
    """A class index with two labels: the comparison would mean nothing."""
    with pytest.raises(BenchError, match="class 0 is 'ant' and 'cow'"):
        compare("p", result(0.5, 0.5), result(0.5, 0.5, labels={0: "cow", 1: "bee"}))


def test_it_holds_only_without_any_exception() -> None:
    """One difference over the limit, one other label or one failure is enough; so is having compared nothing."""
    good = (result(0.6, 0.4), result(0.6, 0.4))
    over = (result(0.6, 0.4), result(0.7, 0.3))
    other = (result(0.50001, 0.5), result(0.5, 0.50001))
    failed = (result(0.6, 0.4), error_of("worker_failed", "no"))
    for extra in ([], [over], [other], [failed]):
        agreement = Agreement(1e-3)
        for number, pair in enumerate([good, *extra]):
            agreement.add(f"p{number}", *pair)
        assert agreement.holds == (not extra)
    assert not Agreement(1e-3).holds


def test_the_worst_pictures_come_first() -> None:
    """By the difference, whatever the order in which they came."""
    agreement = Agreement(1e-3)
    for number, probability in enumerate((0.61, 0.69, 0.6, 0.65)):
        agreement.add(f"p{number}", result(0.6, 0.4), result(probability, 0.4))
    assert [one.file for one in agreement.worst] == ["p1", "p3", "p0", "p2"]
    assert agreement.largest == pytest.approx(0.09)
    assert (agreement.compared, agreement.over) == (4, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, which say in their bytes what they are."""
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"%d" % number)
    return tmp_path


def answering(*probabilities: float, seen: list[web.Request] | None = None) -> Handler:
    """For the picture 1 these; for every other the first class alone."""

    async def handle(request: web.Request) -> web.Response:
        if seen is not None:
            seen.append(request)
        return web.json_response(document(*(probabilities if await request.read() == b"1" else (1.0, 0.0, 0.0))))

    return handle


async def run(*arguments: str) -> int:
    """The program, in a thread: it has an event loop of its own."""
    return await asyncio.to_thread(main, arguments)


async def test_two_servers_are_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each picture is asked of both; the worst is named, and the status says that they differ."""
    async with served(answering(0.5, 0.3, 0.2)) as one, served(answering(0.3, 0.5, 0.2)) as other:
        assert await run(str(folder), "--url", one, other) == APART
    said = capsys.readouterr().out
    assert "largest difference of a probability: 2.00e-01 (limit 0.0001)" in said
    assert "the same first label: 2 of 3; over the limit: 1" in said
    assert "1.png  by 'ant'; first: ant | bee" in said


async def test_a_limit_is_what_is_given(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As an object: a difference within it is none."""
    async with served(answering(0.5, 0.3, 0.2)) as one, served(answering(0.51, 0.29, 0.2)) as other:
        assert await run(str(folder), "--url", one, other, "--limit", "0.02", "--json") == AGREED
    said = json.loads(capsys.readouterr().out)
    assert (said["holds"], said["compared"], said["same_top1"], said["over_limit"]) == (True, 3, 3, 0)
    assert said["largest_difference"] == pytest.approx(0.01)


async def test_a_picture_that_one_side_refuses_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not compared, and the status is that of a difference."""

    async def refuse(request: web.Request) -> web.Response:
        if await request.read() == b"1":
            return web.json_response({"code": "bad_input", "detail": "is no picture"}, status=400)
        return web.json_response(document(1.0, 0.0, 0.0))

    async with served(answering(1.0, 0.0, 0.0)) as one, served(refuse) as other:
        assert await run(str(folder), "--url", one, other) == APART
    said = capsys.readouterr().out
    assert "without an answer from both: 1" in said
    assert f"1.png: {other} digits: bad_input: is no picture" in said


async def test_one_gateway_is_asked_for_two_workers(folder: Path) -> None:
    """By X-Worker, for every class."""
    seen: list[web.Request] = []
    async with served(answering(1.0, 0.0, 0.0, seen=seen)) as url:
        assert await run(str(folder), "--url", url, "--worker", "tf", "cv", "--model", "m") == AGREED
    assert {one.path_qs for one in seen} == {f"/inference/m?top={agree.TOP}"}
    assert sorted(one.headers["X-Worker"] for one in seen) == ["cv"] * 3 + ["tf"] * 3


async def test_what_every_picture_would_meet_ends_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that is not there: said once, with its side."""

    async def refuse(_request: web.Request) -> web.Response:
        return web.json_response({"code": "unknown_model", "detail": "no m"}, status=404)

    async with served(answering(1.0, 0.0, 0.0)) as one, served(refuse) as other:
        assert await run(str(folder), "--url", one, other, "--model", "m") == BAD_INPUT
    assert f"agree: {other} m: unknown_model: no m" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--url", "http://a"], "one side only"),
        (["--url", "http://a", "http://b", "http://c"], "--url: one value for both sides, or two; not 3"),
    ],
)
def test_two_sides_are_wanted(arguments: list[str], what: str) -> None:
    """Neither one nor three."""
    with pytest.raises(BenchError, match=what):
        sides_of(parser().parse_args(arguments))


def test_one_value_is_for_both() -> None:
    """And two are for one each."""
    first, second = sides_of(parser().parse_args(["--url", "http://a", "--model", "m", "n"]))
    assert (first.url, first.model, second.url, second.model) == ("http://a", "m", "http://a", "n")
