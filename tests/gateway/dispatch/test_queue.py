"""The bounded queue of one model."""

from __future__ import annotations

from gateway.dispatch.model import Priority
from gateway.dispatch.queue import Lane, ModelQueue, Ticket
from tests.support.fake_link import make_job


def make_ticket(number: int, *, high: bool = False, lane: Lane | None = None, queued_bytes: int = 0) -> Ticket:
    job = make_job(priority=Priority.HIGH if high else Priority.NORMAL, queued_bytes=queued_bytes)
    return Ticket(job, number, queued_at=0.0, lane=lane or Lane())


def filled(*tickets: Ticket, max_jobs: int = 10, max_bytes: int = 100) -> ModelQueue:
    queue = ModelQueue(max_jobs, max_bytes)
    for ticket in tickets:
        queue.push(ticket)
    return queue


def in_order(queue: ModelQueue) -> list[int]:
    numbers = []
    while (ticket := queue.head()) is not None:
        numbers.append(ticket.number)
        queue.remove(ticket)
    return numbers


def test_order() -> None:
    """High priority leaves first; within a priority, first come is first served."""
    queue = filled(make_ticket(1), make_ticket(2, high=True), make_ticket(3), make_ticket(4, high=True))
    assert in_order(queue) == [2, 4, 1, 3]


def test_order_over_lanes() -> None:
    """Lanes change nothing in the order."""
    queue = filled(make_ticket(1), make_ticket(2, lane=Lane(pin="a")), make_ticket(3), make_ticket(4, high=True))
    assert in_order(queue) == [4, 1, 2, 3]


def test_blocked_lane() -> None:
    """A lane whose head cannot go on holds up nobody in the others."""
    pinned = make_ticket(1, lane=Lane(pin="a"))
    free = make_ticket(2)
    queue = filled(pinned, free)
    assert queue.head() is pinned
    assert queue.head(blocked={pinned.lane}) is free
    assert queue.head(blocked={pinned.lane, free.lane}) is None


def test_one_that_waits_alone() -> None:
    """A job that waits alone can be blocked, taken and cancelled like any other, and keeps its place when more come."""
    alone = make_ticket(1, lane=Lane(pin="a"), queued_bytes=10)
    queue = filled(alone)
    assert (queue.head(), queue.head(blocked={alone.lane}), queue.jobs, queue.bytes) == (alone, None, 1, 10)
    queue.remove(alone)
    assert (queue.head(), queue.jobs, queue.bytes) == (None, 0, 0)
    queue.push(alone)
    queue.push(make_ticket(2, lane=Lane(pin="a")))
    assert in_order(queue) == [1, 2]
    queue.push(alone)
    assert queue.take_all() == [alone]
    assert queue.head() is None


def test_job_that_comes_back() -> None:
    """A job that comes back from a worker stands before all others of its priority, and over the bound if need be."""
    queue = filled(make_ticket(2), make_ticket(3), make_ticket(4, high=True), max_jobs=3)
    queue.push(make_ticket(1, lane=Lane(excluded=frozenset({"a"}))))
    assert in_order(queue) == [4, 1, 2, 3]


def test_bound_of_jobs() -> None:
    """The queue takes jobs up to its bound."""
    queue = filled(make_ticket(1), max_jobs=2)
    assert queue.has_room(make_job())
    queue.push(make_ticket(2))
    assert not queue.has_room(make_job())


def test_bound_of_bytes() -> None:
    """The queue takes bytes up to its bound, but one job alone whatever its size."""
    queue = filled(max_bytes=100)
    assert queue.has_room(make_job(queued_bytes=1000))
    queue.push(make_ticket(1, queued_bytes=60))
    assert queue.has_room(make_job(queued_bytes=40))
    assert not queue.has_room(make_job(queued_bytes=41))


def test_counts_return_to_zero() -> None:
    """Whatever left the queue is no longer counted, however it left."""
    first, second = make_ticket(1, queued_bytes=10), make_ticket(2, queued_bytes=20)
    queue = filled(first, second)
    queue.remove(first)
    assert (queue.jobs, queue.bytes) == (1, 20)
    assert queue.take_all() == [second]
    assert (queue.jobs, queue.bytes, queue.head()) == (0, 0, None)
