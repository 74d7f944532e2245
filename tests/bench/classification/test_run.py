"""A walk through a folder with a gateway that answers what the test says; waits are noted and take no time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench.classification.folder import Picture
from bench.classification.gateway import Reply
from bench.classification.labels import Truth
from bench.classification.retry import Bounds
from bench.classification.run import Run
from bench.classification.score import Prediction

GOOD = Reply((Prediction(1, "cat", 0.9),), "w1", 200)
FULL = Reply(status=429, reason="queue_full", retry_after_s=2.0)
LOST = Reply(reason="closed")


def pictures(count: int) -> list[Picture]:
    return [Picture(f"{place}.png", Path(f"{place}.png"), 10) for place in range(count)]


class ScriptedGateway:
    """Answers by a function of the pictures and the request's number."""

    def __init__(self, answer: Callable[[Sequence[Picture], int], list[Reply]]) -> None:
        self.answer = answer
        self.requests: list[list[str]] = []
        self.at_once = self.most_at_once = 0

    async def classify(self, sent: Sequence[Picture]) -> list[Reply]:
        self.requests.append([picture.name for picture in sent])
        number = len(self.requests)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return self.answer(sent, number)


class Scene:
    """A run and what it did."""

    def __init__(self, answer: Callable[[Sequence[Picture], int], list[Reply]], concurrency: int = 1) -> None:
        self.gateway = ScriptedGateway(answer)
        self.waits: list[float] = []
        truths = {"0.png": Truth(1, "cat")}
        self.run = Run(self.gateway, truths, Bounds(4, 30.0), concurrency, random.Random(1), self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def go(self, count: int, batch: int) -> Run:
        ahead = pictures(count)
        await self.run.go(ahead[place : place + batch] for place in range(0, count, batch))
        return self.run

    def reasons(self) -> dict[str, str]:
        return {result.name: result.reason for result in self.run.results}


def always(reply: Reply) -> Callable[[Sequence[Picture], int], list[Reply]]:
    return lambda sent, _number: [reply] * len(sent)


async def test_every_picture_gets_its_result() -> None:
    """Ten in batches of four: three requests, ten results, with the truth where it is known."""
    scene = Scene(always(GOOD))
    run = await scene.go(10, 4)
    assert [len(request) for request in scene.gateway.requests] == [4, 4, 2]
    assert set(scene.reasons().values()) == {""}
    assert len(run.results) == 10
    assert run.results[0].is_right() is True
    assert run.results[1].is_right() is None


async def test_the_first_goes_alone_and_then_as_many_as_allowed() -> None:
    """With three at a time: one, then three."""
    scene = Scene(always(GOOD), concurrency=3)
    at_once: list[int] = []
    scene.gateway.answer = lambda sent, _number: at_once.append(scene.gateway.most_at_once) or [GOOD] * len(sent)  # type: ignore[func-returns-value]
    await scene.go(9, 1)
    assert at_once[0] == 1
    assert scene.gateway.most_at_once == 3


async def test_only_what_was_refused_is_sent_again() -> None:
    """Of four, two find the queue full: the second request has those two, after at least Retry-After."""
    scene = Scene(lambda sent, number: [GOOD, FULL, GOOD, FULL] if number == 1 else [GOOD] * len(sent))
    run = await scene.go(4, 4)
    assert scene.gateway.requests == [["0.png", "1.png", "2.png", "3.png"], ["1.png", "3.png"]]
    assert len(scene.waits) == 1
    assert 2.0 <= scene.waits[0] <= 3.0
    assert run.waited_s == scene.waits[0]
    assert {result.name: result.tries for result in run.results} == {"0.png": 1, "2.png": 1, "1.png": 2, "3.png": 2}


async def test_patience_ends() -> None:
    """A queue that stays full: four tries, then a failure under its own name; the run goes on to the next picture."""
    scene = Scene(always(FULL))
    run = await scene.go(2, 1)
    assert len(scene.gateway.requests) == 8
    assert scene.reasons() == {"0.png": "queue_full", "1.png": "queue_full"}
    assert run.final is None


async def test_a_lost_connection_is_tried_again_once_the_address_is_known() -> None:
    """A gateway that restarts in the middle costs a wait and no picture."""
    scene = Scene(lambda sent, number: [LOST if number == 2 else GOOD] * len(sent))
    await scene.go(3, 1)
    assert set(scene.reasons().values()) == {""}
    assert scene.gateway.requests == [["0.png"], ["1.png"], ["1.png"], ["2.png"]]


@pytest.mark.parametrize("reply", [LOST, Reply(reason="refused"), Reply(reason="tls"), Reply(status=401, reason="x")])
async def test_a_wrong_address_is_known_at_the_first_request(reply: Reply) -> None:
    """Nothing is tried again, nothing else is sent."""
    scene = Scene(always(reply), concurrency=4)
    run = await scene.go(10, 2)
    assert len(scene.gateway.requests) == 1
    assert run.final == reply
    assert not run.results


async def test_a_queue_that_is_full_at_first_is_an_address_that_is_good() -> None:
    """A connection lost after a 429 is tried again."""
    scene = Scene(lambda sent, number: [[FULL, LOST, GOOD][min(number, 3) - 1]] * len(sent))
    await scene.go(1, 1)
    assert scene.reasons() == {"0.png": ""}


async def test_a_token_that_expires_ends_the_run_and_keeps_what_is_there() -> None:
    """401 in the middle: no further request, the results so far."""
    expired = Reply(status=401, reason="unauthenticated")
    scene = Scene(lambda sent, number: [expired if number == 3 else GOOD] * len(sent))
    run = await scene.go(10, 1)
    assert len(scene.gateway.requests) == 3
    assert run.final == expired
    assert list(scene.reasons()) == ["0.png", "1.png"]


async def test_a_batch_that_is_too_large_is_halved() -> None:
    """A gateway that takes two pictures at most gets two at a time, and every picture its result once."""

    def two_at_most(sent: Sequence[Picture], _number: int) -> list[Reply]:
        too_large = Reply(status=413, reason="payload_too_large")
        return [too_large] * len(sent) if len(sent) > 2 else [GOOD] * len(sent)

    scene = Scene(two_at_most)
    await scene.go(8, 8)
    assert [len(request) for request in scene.gateway.requests] == [8, 4, 2, 2, 4, 2, 2]
    assert len(scene.run.results) == 8
    assert set(scene.reasons().values()) == {""}


async def test_a_picture_that_is_too_large_fails_alone() -> None:
    """413 for one picture is its result."""
    scene = Scene(always(Reply(status=413, reason="payload_too_large")))
    await scene.go(2, 2)
    assert set(scene.reasons().values()) == {"payload_too_large"}
    assert len(scene.gateway.requests) == 3
