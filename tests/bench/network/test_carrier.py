"""A carrier delivers when the rule says, in virtual time, and lets those go on who wait for room."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from bench.network.bottleneck import Bottleneck
from bench.network.carrier import MAX_HELD_BYTES, MOST_PIECE_BYTES, DelayingCarrier, StraightCarrier
from bench.network.jitter import JitterProcess
from bench.network.profile import Way
from bench.network.stalls import Stalls
from bench.network.tally import WayTally
from tests.support.virtual_time import MS, VirtualClock


class Scene:
    """A carrier at work in virtual time."""

    def __init__(self, way: Way, oversleep_ns: Callable[[int], int] = lambda _when: 0) -> None:
        self.clock = VirtualClock(oversleep_ns)
        self.start_ns = self.clock.now_ns()
        self.tally = WayTally()
        rule = Bottleneck(
            way, Stalls(0, 0, random.Random(1)), JitterProcess(way.jitter, random.Random(1)), random.Random(1)
        )
        self.carrier = DelayingCarrier(way, rule, self.clock, self.tally)
        self.came: list[tuple[str, float]] = []

    def send(self, name: str, size_bytes: int = 1000) -> None:
        self.carrier.send(size_bytes, lambda: self.came.append((name, self.now_ms())))

    def now_ms(self) -> float:
        return (self.clock.now_ns() - self.start_ns) / MS

    def play(self, until_ms: float) -> None:
        async def story() -> None:
            tasks = [
                asyncio.create_task(self.carrier.run()),
                asyncio.create_task(self.carrier.admit_waiting(self.clock)),
            ]
            await self.clock.pass_ns(round(until_ms * MS))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run(self.clock.drive(story()))


def test_pieces_arrive_in_order_at_their_times() -> None:
    """At 8 Mbit/s and 5 ms: after 6, 7 and 8 ms; all are counted, none is late."""
    scene = Scene(Way(0.005, 8e6))
    for name in "abc":
        scene.send(name)
    scene.play(20)
    assert scene.came == [("a", 6.0), ("b", 7.0), ("c", 8.0)]
    assert (scene.tally.pieces, scene.tally.bytes, scene.tally.lateness.max_ns) == (3, 3000, 0)


def test_lateness_is_measured() -> None:
    """A clock that oversleeps 0.3 ms shows in the report, as a late delivery and not as delay that was asked for."""
    scene = Scene(Way(0.005, 8e6), oversleep_ns=lambda _when: 300_000)
    scene.send("a")
    scene.play(20)
    assert scene.came == [("a", 6.3)]
    assert scene.tally.lateness.max_ns == 300_000
    assert scene.tally.lateness.percentile_us(0.5) == pytest.approx(300, rel=0.05)


def test_who_waits_goes_on_in_turn() -> None:
    """When the queue is full, those who wait are let go on one at a time, in their order, at the link's rate."""
    scene = Scene(Way(0.0, 11.68e6, queue_s=0.002))  # 1 ms for a piece of 1460 bytes
    for name in "abc":
        scene.send(name, 1460)
    assert scene.carrier.is_full()
    for name in "def":
        scene.carrier.wait_room(lambda name=name: scene.send(name, 1460))  # type: ignore[misc]
    scene.play(20)
    assert [name for name, _ in scene.came] == list("abcdef")
    assert [when for _, when in scene.came] == pytest.approx([1, 2, 3, 4, 5, 6], abs=0.1)


def test_everything_on_its_way_is_bounded() -> None:
    """Without a rate the bytes that are held are what bounds it."""
    scene = Scene(Way(10.0))
    for _ in range(MAX_HELD_BYTES // MOST_PIECE_BYTES):
        assert not scene.carrier.is_full()
        scene.send("a", MOST_PIECE_BYTES)
    assert scene.carrier.is_full()


def test_packets_that_find_no_room_are_lost_and_counted() -> None:
    """A full queue drops; so does chance, and the two are told apart."""
    scene = Scene(Way(0.0, 8e6, queue_s=0.002))
    assert not scene.carrier.is_lost()
    scene.send("a")
    scene.send("b")
    assert scene.carrier.is_lost()
    assert (scene.tally.overflowed, scene.tally.lost) == (1, 0)
    unlucky = Scene(Way(loss=0.999999))
    assert unlucky.carrier.is_lost()
    assert (unlucky.tally.overflowed, unlucky.tally.lost) == (0, 1)


def test_pieces_are_a_millisecond_of_the_link() -> None:
    """Small on a slow link, so that a transfer does not arrive in lumps; never under a packet or over 64 kB."""
    assert Scene(Way(0, 80e6)).carrier.piece_bytes == 10_000
    assert Scene(Way(0, 1e6)).carrier.piece_bytes == 1460
    assert Scene(Way(0, 100e9)).carrier.piece_bytes == MOST_PIECE_BYTES
    assert Scene(Way()).carrier.piece_bytes == MOST_PIECE_BYTES


def test_a_straight_carrier_adds_nothing() -> None:
    """It acts within the call and never asks anybody to wait."""
    acted: list[str] = []
    carrier = StraightCarrier()
    carrier.send(1000, lambda: acted.append("sent"))
    carrier.wait_room(lambda: acted.append("room"))
    assert acted == ["sent", "room"]
    assert not carrier.is_full()
