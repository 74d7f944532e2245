"""One way of a network: rate, queue, order, stalls and losses, by hand."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from bench.network.bottleneck import NS, Bottleneck, bottlenecks
from bench.network.jitter import JitterProcess
from bench.network.profile import PROFILES, Jitter, Profile, Way
from bench.network.stalls import Stalls

MS = 1_000_000


def made(way: Way, stalls: Stalls | None = None, seed: int = 1) -> Bottleneck:
    no_stalls = Stalls(0, 0, random.Random(seed))
    return Bottleneck(way, stalls or no_stalls, JitterProcess(way.jitter, random.Random(seed)), random.Random(seed))


class OneStall(Stalls):
    """From 10 ms to 30 ms."""

    def __init__(self) -> None:
        super().__init__(0, 0, random.Random(0))

    def end_ns(self, now_ns: int) -> int:
        return 30 * MS if 10 * MS <= now_ns < 30 * MS else now_ns


def test_a_piece_takes_its_length_at_the_rate_and_then_the_delay() -> None:
    """1000 bytes at 8 Mbit/s are 1 ms, and 5 ms on the way: due after 6; the next one behind it after 7."""
    way = made(Way(0.005, 8e6))
    assert [way.admit(1000, 0), way.admit(1000, 0)] == [6 * MS, 7 * MS]
    assert way.admit(1000, 20 * MS) == 26 * MS


def test_nothing_is_added_without_figures() -> None:
    """The direct profile delivers at once and is never full."""
    up, _ = bottlenecks(PROFILES["direct"], 1)
    assert [up.admit(10**9, 5), up.admit(1, 5)] == [5, 5]
    assert not up.is_full(5)
    assert up.room_ns(5) == 5


def test_the_queue_is_bounded_in_bytes_and_drains_at_the_rate() -> None:
    """10 ms of 8 Mbit/s are 10,000 bytes: full with ten pieces of 1000, with room when the first has left."""
    way = made(Way(0.005, 8e6, queue_s=0.010))
    for _ in range(10):
        assert not way.is_full(0)
        way.admit(1000, 0)
    assert way.is_full(0)
    assert way.room_ns(0) == 1 * MS
    assert not way.is_full(1 * MS)
    way.admit(1000, 1 * MS)
    assert way.is_full(1 * MS)


def test_a_piece_larger_than_the_queue_is_still_taken() -> None:
    """An empty queue is never full, so nothing can wait for ever."""
    way = made(Way(0.0, 8e6, queue_s=0.0001))
    assert not way.is_full(0)
    assert way.admit(1000, 0) == 1 * MS
    assert way.is_full(0)
    assert not way.is_full(1 * MS)


def test_what_is_on_its_way_is_not_in_the_queue() -> None:
    """A delay of a second fills no queue."""
    way = made(Way(1.0, 8e6, queue_s=0.002))
    way.admit(1000, 0)
    way.admit(1000, 0)
    assert not way.is_full(2 * MS)


def test_jitter_never_reorders() -> None:
    """With a jitter of ten times the distance between pieces, each arrives after the one before it."""
    way = made(Way(0.001, 1e9, jitter=Jitter("pareto", 0.050)))
    due = [way.admit(100, place * 5 * MS) for place in range(2000)]
    assert all(first <= second for first, second in itertools.pairwise(due))
    assert any(first == second for first, second in itertools.pairwise(due))
    assert all(when >= place * 5 * MS + 1 * MS for place, when in enumerate(due))


def test_a_stall_holds_what_would_leave_in_it() -> None:
    """What comes in a stall leaves at its end, one after the other; what left before does not wait."""
    way = made(Way(0.005, 8e6), OneStall())
    assert way.admit(1000, 8 * MS) == 14 * MS
    assert way.admit(1000, 12 * MS) == 36 * MS
    assert way.admit(1000, 13 * MS) == 37 * MS


def test_stalls_are_where_the_seed_puts_them() -> None:
    """Both ways stall together, the share of time in stalls is as asked for, and what is asked does not move them."""
    asked = [Stalls(2.0, 0.5, random.Random("7")) for _ in range(2)]
    coarse = {now: asked[0].end_ns(now) for now in range(0, 2000 * NS, 100 * MS)}
    fine = {now: asked[1].end_ns(now) for now in range(0, 2000 * NS, 50 * MS)}
    assert all(fine[now] == end for now, end in coarse.items())
    stalled = sum(end > now for now, end in coarse.items()) / len(coarse)
    assert stalled == pytest.approx(0.5 / 2.5, abs=0.03)
    assert 650 <= asked[1].count <= 950


def test_ways_stall_together() -> None:
    """Up and down of one profile are held until the same time."""
    profile = Profile("fades", Way(), Way(), stall_every_s=1.0, stall_s=1.0)
    up, down = bottlenecks(profile, 3)
    times = [place * 10 * MS for place in range(1000)]
    assert [up.admit(1, now) for now in times] == [down.admit(1, now) for now in times]
    assert up.stalls == down.stalls > 0


def test_losses_come_as_often_as_asked() -> None:
    """2 % of 100,000 packets are lost, by themselves or in runs of 4 on average."""
    for burst in (1.0, 4.0):
        way = made(Way(loss=0.02, loss_burst=burst))
        lost = [way.is_lost() for _ in range(100_000)]
        runs = [len(list(run)) for is_lost, run in itertools.groupby(lost) if is_lost]
        assert sum(lost) / len(lost) == pytest.approx(0.02, rel=0.15)
        assert sum(runs) / len(runs) == pytest.approx(max(burst, 1.02), rel=0.1)


def test_without_loss_nothing_is_lost() -> None:
    """A way with no loss draws nothing."""
    way = made(Way())
    assert not any(way.is_lost() for _ in range(1000))


def test_chances_do_not_shift_each_other() -> None:
    """With or without losses and stalls drawn, the jitter of a seed is the same; up and down have their own."""
    plain = Profile("p", Way(jitter=Jitter("exponential", 0.01)), Way(jitter=Jitter("exponential", 0.01)))
    lossy = replace(plain, up=replace(plain.up, loss=0.5))
    first, other = bottlenecks(plain, 5)
    second, _ = bottlenecks(lossy, 5)
    due = [first.admit(1, place * NS) for place in range(20)]
    again = []
    for place in range(20):
        second.is_lost()
        again.append(second.admit(1, place * NS))
    assert due == again
    assert due != [other.admit(1, place * NS) for place in range(20)]
