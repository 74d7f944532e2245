"""A walk through a folder with a client whose answers are what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench.classification.folder import Picture
from bench.classification.labels import Truth
from bench.classification.run import Run
from gateway.client import Outcome, Prediction, Result, Timing
from gateway.client.errors import error_of
from gateway.client.retry import Patience

GOOD = Result("", "m", "", "", (Prediction(1, "cat", 0.9),), None, "w1", "r", None, Timing({}, 1.0), 2, {})
Answer = Callable[[Sequence[Path], int], list[Outcome]]


def pictures(count: int) -> list[Picture]:
    return [Picture(f"{place}.png", Path(f"{place}.png"), 10) for place in range(count)]


class ScriptedClient:
    """Answers by a function of the pictures and the request's number."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.patience = Patience()
        self.requests: list[list[str]] = []
        self.at_once = self.most_at_once = 0

    async def classify_batch(self, pictures: Sequence[Path], *, model: str) -> list[Outcome]:
        assert model == "m"
        self.requests.append([picture.name for picture in pictures])
        number = len(self.requests)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return self.answer(pictures, number)


class Scene:
    """A run and what it did."""

    def __init__(self, answer: Answer, concurrency: int = 1) -> None:
        self.client = ScriptedClient(answer)
        self.run = Run(self.client, "m", {"0.png": Truth(1, "cat")}, concurrency)

    async def go(self, count: int, batch: int) -> Run:
        ahead = pictures(count)
        await self.run.go(ahead[place : place + batch] for place in range(0, count, batch))
        return self.run

    def reasons(self) -> dict[str, str]:
        return {result.name: result.reason for result in self.run.results}


def always(reply: Callable[[], Outcome]) -> Answer:
    return lambda sent, _number: [reply() for _ in sent]


async def test_every_picture_gets_its_result() -> None:
    """Ten in batches of four: three requests, ten results, with the truth where it is known and the tries it took."""
    scene = Scene(always(lambda: GOOD))
    run = await scene.go(10, 4)
    assert [len(request) for request in scene.client.requests] == [4, 4, 2]
    assert set(scene.reasons().values()) == {""}
    assert len(run.results) == 10
    assert run.results[0].is_right() is True
    assert run.results[1].is_right() is None
    assert (run.results[0].worker, run.results[0].tries) == ("w1", 2)


async def test_the_first_goes_alone_and_then_as_many_as_allowed() -> None:
    """With three at a time: one, then three."""
    at_once: list[int] = []

    def answer(sent: Sequence[Path], _number: int) -> list[Outcome]:
        at_once.append(scene.client.most_at_once)
        return [GOOD] * len(sent)

    scene = Scene(answer, concurrency=3)
    await scene.go(9, 1)
    assert at_once[0] == 1
    assert scene.client.most_at_once == 3


async def test_a_picture_that_has_no_answer_fails_alone() -> None:
    """Under the code of its error; the run goes on to the next."""
    full = error_of("queue_full", "512 jobs wait", status=429)
    scene = Scene(lambda sent, number: [full if number == 2 else GOOD] * len(sent))
    run = await scene.go(3, 1)
    assert scene.reasons() == {"0.png": "", "1.png": "queue_full", "2.png": ""}
    assert run.results[1].detail == "512 jobs wait"
    assert run.final is None


@pytest.mark.parametrize(("code", "status"), [("closed", 0), ("refused", 0), ("timeout", 0), ("tls", 0), ("x", 401)])
async def test_a_wrong_address_is_known_at_the_first_request(code: str, status: int) -> None:
    """Nothing else is sent."""
    error = error_of(code, status=status)
    scene = Scene(always(lambda: error), concurrency=4)
    run = await scene.go(10, 2)
    assert len(scene.client.requests) == 1
    assert run.final is error
    assert not run.results


async def test_a_lost_connection_ends_no_run_once_the_address_is_known() -> None:
    """It is that picture's failure."""
    scene = Scene(always(lambda: error_of("closed")))
    scene.client.patience.has_answered = True
    run = await scene.go(2, 1)
    assert scene.reasons() == {"0.png": "closed", "1.png": "closed"}
    assert run.final is None


async def test_a_token_that_expires_ends_the_run_and_keeps_what_is_there() -> None:
    """401 in the middle: no further request, the results so far."""
    expired = error_of("unauthenticated", status=401)
    scene = Scene(lambda sent, number: [expired if number == 3 else GOOD] * len(sent))
    run = await scene.go(10, 1)
    assert len(scene.client.requests) == 3
    assert run.final is expired
    assert list(scene.reasons()) == ["0.png", "1.png"]
