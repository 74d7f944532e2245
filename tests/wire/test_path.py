"""How a large body shares the link: simulated links in virtual time, so that each figure is the same on each machine.

Figures are delays beyond what the request takes on the idle link, and shares of the link's rate.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from tests.support.bulk import ANSWER_BYTES, SMALL_BYTES, Shared, share
from tests.support.session_pair import SessionPair
from wire.errors import RemoteProtocolError
from wire.frames import RequestHead, ResponseHead
from wire.limits import CHUNK_TIME_S, KIB, MAX_CHUNK_BYTES, MIB, MIN_CHUNK_BYTES, QUEUE_TIME_S
from wire.session import Role
from wire.window import Path, Phase

MBIT = 1e6 / 8
PICTURE_BYTES = 120_000
OVERHEAD_BYTES = 400
"""Heads and frame headers of a small request and its answer."""


@dataclass(frozen=True)
class Link:
    """A link to try."""

    one_way_s: float
    rate_bytes_s: float

    @property
    def idle_s(self) -> float:
        """What a small request takes when nothing else is on the link."""
        return 2 * self.one_way_s + (SMALL_BYTES + ANSWER_BYTES + OVERHEAD_BYTES) / self.rate_bytes_s

    def pair(self) -> SessionPair:
        pair = SessionPair(latency_s=self.one_way_s, rate_bytes_s=self.rate_bytes_s)
        pair.advance(5.0)
        return pair

    def used(self, shared: Shared, total_bytes: int) -> float:
        return total_bytes / (shared.seconds - self.one_way_s) / self.rate_bytes_s


@pytest.mark.parametrize(
    ("link", "total_bytes", "extra_s", "used"),
    [
        (Link(0.0002, 20 * MBIT), 20 * MIB, 0.012, 0.97),
        (Link(0.025, 20 * MBIT), 20 * MIB, 0.040, 0.94),
        (Link(0.010, 5 * MBIT), 5 * MIB, 0.025, 0.90),
        (Link(0.0002, 1000 * MBIT), 50 * MIB, 0.005, 0.95),
        (Link(0.050, 1000 * MBIT), 200 * MIB, 0.080, 0.50),
        (Link(0.100, 1000 * MBIT), 200 * MIB, 0.200, 0.30),
    ],
    ids=["20 Mbit/s LAN", "20 Mbit/s 50 ms", "5 Mbit/s 20 ms", "1 Gbit/s LAN", "1 Gbit/s 100 ms", "1 Gbit/s 200 ms"],
)
def test_a_large_body_uses_the_link_and_small_requests_hardly_wait(
    link: Link, total_bytes: int, extra_s: float, used: float
) -> None:
    """Both at once, from the first byte on: no start-up queue, no idle link."""
    shared = share(link.pair(), total_bytes)
    assert shared.worst_small_s() - link.idle_s < extra_s
    assert link.used(shared, total_bytes) > used


@pytest.mark.parametrize("one_way_s", [0.025, 0.100])
def test_small_requests_wait_for_little_more_than_the_chunks_ahead(one_way_s: float) -> None:
    """Where a queue shows and the path does not waver, most requests wait for less than a quarter of the round trip."""
    link = Link(one_way_s, 20 * MBIT)
    shared = share(link.pair(), 30 * MIB)
    waits_s = sorted(took_s - link.idle_s for _, took_s in shared.small_s)
    assert waits_s[len(waits_s) // 2] < 0.25 * 2 * one_way_s
    assert link.used(shared, 30 * MIB) > 0.90


def test_a_long_transfer_goes_on_through_every_probe_of_the_round_trip() -> None:
    """100 MB over 40 s: each ten seconds the queue is emptied to measure the path, and the link stays in use."""
    link = Link(0.025, 20 * MBIT)
    pair = link.pair()
    phases: set[Phase] = set()
    shared = share(pair, 100 * MIB, watch=lambda: phases.add(pair.gateway.path.phase))
    assert phases == set(Phase)
    assert link.used(shared, 100 * MIB) > 0.95
    assert shared.worst_small_s() - link.idle_s < 0.050


def test_the_probe_finds_a_path_that_became_longer() -> None:
    """The least round trip is not believed for ever: after a change of route the new one is found."""
    pair = Link(0.010, 20 * MBIT).pair()
    share(pair, 5 * MIB)
    assert pair.gateway.path.min_rtt_s == pytest.approx(0.020, abs=0.003)
    for way in pair.ways.values():
        way.latency_s = 0.050
    share(pair, 60 * MIB)
    assert pair.gateway.path.min_rtt_s == pytest.approx(0.100, abs=0.015)


def test_the_probe_does_not_take_our_own_queue_for_the_path() -> None:
    """After a minute of bulk the least round trip is still the path's: it does not creep up from probe to probe."""
    pair = Link(0.025, 20 * MBIT).pair()
    share(pair, 150 * MIB)
    assert pair.gateway.path.min_rtt_s < 0.060


def test_a_token_bucket_that_runs_dry_is_followed_down() -> None:
    """A burst that passes at once says nothing of the rate behind it: within seconds small requests pass again."""
    link = Link(0.010, 20 * MBIT)
    pair = link.pair()
    pair.ways[Role.GATEWAY].burst_bytes = 4 * MIB
    shared = share(pair, 40 * MIB)
    assert shared.worst_small_s(since_s=4.0) - link.idle_s < 0.050
    assert link.used(shared, 36 * MIB) > 0.90


def test_a_start_that_went_too_far_is_taken_back_at_once() -> None:
    """The first queue ends the doubling, and the flight goes to what was measured until then."""
    link = Link(0.025, 20 * MBIT)
    pair = link.pair()
    pair.ways[Role.GATEWAY].burst_bytes = 1 * MIB
    shared = share(pair, 10 * MIB)
    assert shared.worst_small_s(since_s=1.0) - link.idle_s < 0.040


def test_a_rate_that_drops_is_followed_down_and_one_that_rises_up_again() -> None:
    """From 100 Mbit/s to 10 and back: small requests pass again soon, and so does the whole rate."""
    pair = Link(0.010, 100 * MBIT).pair()
    way = pair.ways[Role.GATEWAY]
    share(pair, 30 * MIB)
    high = pair.gateway.path.flight_bytes
    way.rate_bytes_s = 10 * MBIT
    shared = share(pair, 10 * MIB)
    assert shared.worst_small_s(since_s=3.0) < 0.100
    assert pair.gateway.path.flight_bytes < high / 4
    way.rate_bytes_s = 100 * MBIT
    shared = share(pair, 100 * MIB)
    assert 100 * MIB / shared.seconds > 0.85 * way.rate_bytes_s


def test_pictures_on_a_fast_path_soon_go_whole_in_one_frame() -> None:
    """One at a time they never fill the flight, and yet what they show of the path is learned."""
    pair = Link(0.0002, 1000 * MBIT).pair()
    send_pictures(pair, 20)
    assert pair.gateway.path.chunk_bytes >= PICTURE_BYTES
    assert not pair.gateway.path.wants_ack(PICTURE_BYTES, is_bulk=False)


@pytest.mark.parametrize("one_way_s", [0.0002, 0.025])
def test_pictures_on_a_slow_path_do_not_raise_the_flight_over_what_it_holds(one_way_s: float) -> None:
    """A large body that follows them makes small requests wait no longer than one that comes first."""
    link = Link(one_way_s, 20 * MBIT)
    pair = link.pair()
    send_pictures(pair, 100)
    assert pair.gateway.path.flight_bytes < 1.5 * link.rate_bytes_s * (2 * one_way_s + QUEUE_TIME_S)
    shared = share(pair, 5 * MIB)
    assert shared.worst_small_s() - link.idle_s < 0.040


def send_pictures(pair: SessionPair, count: int) -> None:
    """One after the other, each when the one before is there."""
    for _ in range(count):
        number = pair.gateway.open_exchange(RequestHead("POST", "/picture", body_bytes=PICTURE_BYTES), pair.now)
        pair.gateway.send_body(number, bytes(PICTURE_BYTES), end=True)
        pair.settle()
        pair.worker.respond(number, ResponseHead(200))
        pair.worker.send_body(number, b"", end=True)
        pair.settle()


def test_noisy_round_trips_do_not_keep_the_rate_down() -> None:
    """With up to 10 ms of jitter each way the link is still used."""
    link = Link(0.020, 50 * MBIT)
    pair = link.pair()
    noise = random.Random(7)
    for way in pair.ways.values():
        way.jitter_s = lambda: noise.uniform(0.0, 0.010)
    shared = share(pair, 60 * MIB)
    assert link.used(shared, 60 * MIB) > 0.85


def test_one_long_stall_does_not_decide_for_long() -> None:
    """After an event loop that stood still for half a second the rate comes back within seconds."""
    link = Link(0.010, 100 * MBIT)
    pair = link.pair()
    share(pair, 20 * MIB)
    pair.ways[Role.WORKER].free_at = pair.now + 0.5  # no acknowledgement gets out for so long
    shared = share(pair, 100 * MIB)
    assert 100 * MIB / (shared.seconds - 0.5) > 0.85 * link.rate_bytes_s


def test_after_a_transfer_hardly_anything_is_unacknowledged() -> None:
    """Nothing stays in flight but small bodies that never asked."""
    pair = Link(0.010, 20 * MBIT).pair()
    share(pair, 5 * MIB)
    pair.advance(10.0)
    assert pair.gateway.path.in_flight * 2 <= pair.gateway.path.flight_bytes
    assert len(pair.gateway.path._samples) == 0


# --- the arithmetic alone ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [-1, 999, 2001])
def test_an_acknowledgement_of_the_impossible_is_refused(total: int) -> None:
    """Fewer bytes than before, or more than were sent."""
    path = Path(0.0)
    path.sent(2000, True, 0.0)
    path.acknowledged(1000, 0.1)
    with pytest.raises(RemoteProtocolError, match="where 1000 to 2000 were possible"):
        path.acknowledged(total, 0.2)


def test_something_may_always_be_sent_when_no_acknowledgement_is_awaited() -> None:
    """Small bodies that asked for none cannot fill the flight for ever."""
    path = Path(0.0)
    path.sent(10 * MIB, False, 0.0)
    assert path.has_room(64 * KIB)
    path.sent(64 * KIB, True, 0.0)
    assert not path.has_room(1)


def test_small_bodies_ask_once_they_fill_half_of_the_flight() -> None:
    """Not one ACK for each small body, and not none at all."""
    path = Path(0.0)
    asked = 0
    for _ in range(20):
        asks = path.wants_ack(1000, is_bulk=False)
        path.sent(1000, asks, 0.0)
        asked += asks
    assert asked == 4


def test_time_without_traffic_is_no_slow_path() -> None:
    """What is sent after a pause measures the path alone, also when something small was never acknowledged."""
    path = Path(0.0)
    path.sent(1000, False, 0.0)
    path.sent(10_000, True, 100.0)
    path.held_back()
    path.acknowledged(11_000, 100.1)
    path.sent(10_000, True, 100.1)
    assert path.flight_bytes >= 32 * KIB


@pytest.mark.parametrize("rate_bytes_s", [0.1e6, 1e6, 10e6, 40e6])
def test_a_chunk_occupies_the_link_for_a_few_milliseconds(rate_bytes_s: float) -> None:
    """CHUNK_TIME_S of the rate that was learned, within the bounds."""
    pair = SessionPair(latency_s=0.010, rate_bytes_s=rate_bytes_s)
    pair.advance(5.0)
    share(pair, int(rate_bytes_s * 4))
    wanted = min(MAX_CHUNK_BYTES, max(MIN_CHUNK_BYTES, rate_bytes_s * CHUNK_TIME_S))
    assert pair.gateway.path.chunk_bytes == pytest.approx(wanted, rel=0.25)
