"""Jobs of services: answers that last, workers whose slots are a server's, and what is never done twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from math import inf

import pytest

from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.effects import Failure
from gateway.dispatch.model import Job, ModelOffer
from gateway.dispatch.replica import Replica
from gateway.dispatch.settings import DispatchSettings
from gateway.errors import DeadlineExceeded
from tests.support.core_driver import CoreDriver
from tests.support.fake_clock import FakeClock, settle
from tests.support.fake_link import FakeLink, make_job, offer


def service(driver: CoreDriver, name: str, slots: int, service_s: float = 0.01, rtt_s: float = 0.0) -> Replica:
    """A worker that has just proved a service."""
    driver.core.join(FakeLink(name, rtt_s), [ModelOffer("m", "1", slots, metadata={"service": True})], driver.now)
    driver.advance()
    driver.prove(service_s, only=driver.replica(name))
    return driver.replica(name)


def test_a_service_has_all_of_its_slots_at_once() -> None:
    """The first request may last for hours: the others do not wait until it has succeeded."""
    driver = CoreDriver()
    service(driver, "a", slots=3)
    for _ in range(4):
        driver.submit()
    assert driver.workers() == ["a", "a", "a"]


def test_nothing_is_sent_ahead_of_a_services_slots() -> None:
    """What waited at the worker behind a stream could not go elsewhere."""
    driver = CoreDriver()
    assert service(driver, "a", slots=3, rtt_s=1.0).credits == 3


def test_requests_spread_over_servers() -> None:
    """The slots of a server share its processor: equal servers get equal shares, a quicker one gets more."""
    driver = CoreDriver()
    service(driver, "a", slots=32)
    service(driver, "b", slots=32)
    for _ in range(8):
        driver.submit()
    assert sorted(driver.workers()) == ["a"] * 4 + ["b"] * 4

    driver = CoreDriver()
    service(driver, "quick", slots=32, service_s=0.01)
    service(driver, "slow", slots=32, service_s=0.03)
    for _ in range(8):
        driver.submit()
    assert driver.workers().count("quick") == 6


def test_nobody_waits_for_a_server_that_is_full() -> None:
    """Nobody knows when its streams end, so a slower one that is free is taken."""
    driver = CoreDriver()
    service(driver, "quick", slots=1, service_s=0.001)
    service(driver, "slow", slots=1, service_s=1.0)
    for _ in range(2):
        driver.submit()
    assert driver.workers() == ["quick", "slow"]


@pytest.mark.parametrize("failure", [Failure.LOST, Failure.FAILED])
def test_what_must_not_be_repeated_is_not(failure: Failure) -> None:
    """A job that a lost worker may have done is not given to another."""
    driver = CoreDriver()
    for name in ("a", "b"):
        driver.add(name)
    ticket = driver.submit()
    ticket.job.may_repeat = False
    assert driver.fail(ticket, failure) is not None


def test_what_was_refused_goes_elsewhere() -> None:
    """A worker that refused a job has not done it."""
    driver = CoreDriver()
    for name in ("a", "b"):
        driver.add(name)
    ticket = driver.submit()
    ticket.job.may_repeat = False
    assert driver.fail(ticket, Failure.REFUSED) is None


def stream_job(deadline: float) -> Job:
    job = make_job(deadline=deadline)
    job.is_stream = True
    return job


async def listen(dispatcher: Dispatcher, job: Job, got: list[bytes]) -> None:
    async with dispatcher.exchange(job) as reply:
        got.append(await reply.read())


async def test_a_streams_deadline_is_its_heads() -> None:
    """Once the head is here a stream lasts as long as it lasts; while it is not, the deadline counts."""
    clock, link = FakeClock(), FakeLink("a")
    dispatcher = Dispatcher(DispatchSettings(probe_idle_s=0), clock=clock)
    probing = asyncio.create_task(dispatcher.run())
    dispatcher.join(link, [offer("m", slots=4)])
    await settle()
    chunks: asyncio.Queue[bytes] = asyncio.Queue()

    async def stream() -> AsyncIterator[bytes]:
        while chunk := await chunks.get():
            yield chunk

    got: list[bytes] = []
    lasting = asyncio.create_task(listen(dispatcher, stream_job(clock.now() + 5), got))
    await settle()
    link.open[0].stream(stream())
    await clock.advance(3600)
    chunks.put_nowait(b"late")
    chunks.put_nowait(b"")
    await lasting
    assert got == [b"late"]

    silent = asyncio.create_task(listen(dispatcher, stream_job(clock.now() + 5), got))
    await clock.advance(6)
    with pytest.raises(DeadlineExceeded):
        await silent
    probing.cancel()


async def test_a_stream_is_never_held() -> None:
    """Even one with a small length is its client's as it comes: its worker is not given back before it ends."""
    clock, link = FakeClock(), FakeLink("a")
    dispatcher = Dispatcher(DispatchSettings(), clock=clock)
    probing = asyncio.create_task(dispatcher.run())
    dispatcher.join(link, [offer("m")])
    await settle()
    asking = asyncio.create_task(hold(dispatcher, stream_job(inf), link))
    await settle()
    link.open[0].answer(b"small")
    await asking
    assert not link.open
    probing.cancel()


async def hold(dispatcher: Dispatcher, job: Job, link: FakeLink) -> None:
    async with dispatcher.exchange(job) as reply:
        assert link.open
        assert await reply.read() == b"small"
