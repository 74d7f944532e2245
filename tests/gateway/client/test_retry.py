"""When a client tries again: never before it was asked to, not all at once, and not for ever. Time is virtual."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from gateway.client.errors import ClientError, error_of
from gateway.client.results import Outcome, Prediction, Result, Timing
from gateway.client.retry import Bounds, Patience, next_wait_s, retry_after_s
from tests.support.picture_server import VirtualClock

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
BOUNDS = Bounds(tries=4, most_wait_s=30.0)
GOOD = Result("", "m", "", "", (Prediction(1, "cat", 0.9),), None, "w", "r", None, Timing({}, 1.0), 1, {})


def full() -> ClientError:
    return error_of("queue_full", status=429, retry_after_s=2.0)


def lost() -> ClientError:
    return error_of("closed")


def waits(asked_s: float | None, tries: int = 1, count: int = 200) -> list[float]:
    source = random.Random(1)
    found = [next_wait_s(BOUNDS, tries, asked_s, source) for _ in range(count)]
    return [wait for wait in found if wait is not None]


class Scene:
    """A patient client whose requests are answered by a function of what was sent and the request's number."""

    def __init__(self, answer: Callable[[Sequence[str], int], Sequence[Outcome]], takes_s: float = 0.0) -> None:
        self.clock = VirtualClock()
        self.patience = Patience(BOUNDS, self.clock, random.Random(1))
        self.requests: list[list[str]] = []
        self.left: list[float] = []
        self.answer = answer
        self.takes_s = takes_s

    async def send(self, items: Sequence[str], tries: int, left_s: float) -> Sequence[Outcome]:
        self.requests.append(list(items))
        self.left.append(left_s)
        self.clock.time += self.takes_s
        return self.answer(items, len(self.requests))

    async def settle(self, items: str, timeout_s: float = 1000.0) -> list[str]:
        """The code of each; '' for an answer."""
        outcomes = await self.patience.settle(list(items), self.send, timeout_s)
        self.outcomes = outcomes
        return [one.code if isinstance(one, ClientError) else "" for one in outcomes]


def always(*replies: Callable[[], Outcome]) -> Callable[[Sequence[str], int], Sequence[Outcome]]:
    """The n-th request is answered by the n-th of these, the last for good; the same object for all of it."""
    return lambda items, number: [replies[min(number, len(replies)) - 1]()] * len(items)


def good() -> Outcome:
    return GOOD


def test_never_before_it_was_asked_and_spread_after() -> None:
    """Retry-After of 4 s gives from 4 to 5 s at first, then to 6: who was refused together spreads ever wider."""
    for tries, most in ((1, 5.0), (2, 6.0), (3, 8.0)):
        found = waits(4.0, tries)
        assert 4 <= min(found) < 4.1
        assert most - 0.1 * (most - 4) < max(found) <= most


def test_without_retry_after_the_range_doubles() -> None:
    """From 0 to 1, 2 and 4 s."""
    for tries, most in ((1, 1.0), (2, 2.0), (3, 4.0)):
        found = waits(None, tries)
        assert 0 <= min(found) < 0.1 * most
        assert 0.9 * most < max(found) <= most


def test_a_retry_after_of_0_is_still_spread() -> None:
    """Nobody spins."""
    assert max(waits(0.0)) > 0.9


def test_tries_are_bounded() -> None:
    """The fourth of four is the last."""
    assert waits(1.0, tries=3)
    assert not waits(1.0, tries=4)


def test_a_wait_that_is_too_long_is_not_begun() -> None:
    """31 s with a bound of 30: given up at once, rather than asked again too early."""
    assert waits(30.0)
    assert not waits(31.0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("\u0664", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    """RFC 9110 10.2.3; a date that has passed is now; what is neither says nothing."""
    assert retry_after_s(header, NOW) == seconds


async def test_only_what_was_refused_is_sent_again() -> None:
    """Of four, two find the queue full: the second request has those two, after at least Retry-After."""
    scene = Scene(lambda items, number: [GOOD, full(), GOOD, full()] if number == 1 else [GOOD] * len(items))
    assert await scene.settle("abcd") == ["", "", "", ""]
    assert scene.requests == [["a", "b", "c", "d"], ["b", "d"]]
    assert len(scene.clock.sleeps) == 1
    assert 2.0 <= scene.clock.sleeps[0] <= 3.0
    assert scene.patience.waited_s == scene.clock.sleeps[0]
    assert [one.tries for one in scene.outcomes] == [1, 2, 1, 2]


async def test_patience_ends() -> None:
    """A queue that stays full: four tries, then the failure, with how often it was tried."""
    scene = Scene(always(full))
    assert await scene.settle("a") == ["queue_full"]
    assert (len(scene.requests), scene.patience.requests, scene.outcomes[0].tries) == (4, 4, 4)


async def test_all_tries_are_within_the_deadline() -> None:
    """Each try is told what is left, and a wait that would outlast it is not begun: the refusal is the answer."""
    scene = Scene(always(full), takes_s=1.0)
    assert await scene.settle("a", timeout_s=6.0) == ["queue_full"]
    assert scene.left[0] == 6.0
    assert 2.0 <= scene.left[1] <= 3.0
    assert len(scene.requests) == 2
    assert scene.clock.now() <= 1006.0


@pytest.mark.parametrize("code", ["bad_input", "worker_failed", "worker_lost", "deadline_exceeded", "internal"])
async def test_what_another_try_would_meet_again_is_not_tried(code: str) -> None:
    """The gateway itself has given the job to a second worker where that was of use."""
    scene = Scene(always(lambda: error_of(code, status=502)))
    assert await scene.settle("a") == [code]
    assert len(scene.requests) == 1


@pytest.mark.parametrize("code", ["refused", "closed", "reset", "cut_off", "timeout"])
async def test_a_lost_connection_is_tried_again_once_the_address_is_known(code: str) -> None:
    """A gateway that restarts costs a wait; an address at which nobody ever answered is said at once."""
    scene = Scene(always(lambda: error_of(code), good))
    assert await scene.settle("a") == [code]
    assert len(scene.requests) == 1
    scene = Scene(always(good, lambda: error_of(code), good))
    assert await scene.settle("a") == [""]
    assert await scene.settle("b") == [""]
    assert scene.requests == [["a"], ["b"], ["b"]]


async def test_a_queue_that_is_full_at_first_is_an_address_that_is_good() -> None:
    """A connection lost after a 429 is tried again."""
    scene = Scene(always(full, lost, good))
    assert await scene.settle("a") == [""]


async def test_a_refused_token_is_no_sign_of_a_good_address() -> None:
    """Something that says 401 to all may be anything."""
    scene = Scene(always(lambda: error_of("unauthenticated", status=401)))
    await scene.settle("a")
    assert not scene.patience.has_answered


async def test_a_batch_that_is_too_large_is_halved() -> None:
    """A gateway that takes two pictures at most gets two at a time, and every picture its outcome, in order."""

    def two_at_most(items: Sequence[str], _number: int) -> Sequence[Outcome]:
        too_large = error_of("payload_too_large", status=413)
        return [too_large] * len(items) if len(items) > 2 else [GOOD] * len(items)

    scene = Scene(two_at_most)
    assert await scene.settle("abcdefgh") == [""] * 8
    assert [len(request) for request in scene.requests] == [8, 4, 2, 2, 4, 2, 2]


async def test_a_picture_that_is_too_large_fails_alone() -> None:
    """413 for one picture, alone or among others, is its outcome."""
    scene = Scene(lambda items, _number: [error_of("payload_too_large", status=413) for _ in items])
    assert await scene.settle("ab") == ["payload_too_large"] * 2
    assert len(scene.requests) == 1
