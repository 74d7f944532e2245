"""The waiting shell: what a caller of `exchange` sees, and that every claim comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.model import ExchangeFailed, ExchangeRefused, Job, LinkLost, LoadReport, Reply, Timing
from gateway.dispatch.observer import Observer
from gateway.dispatch.settings import DispatchSettings
from gateway.errors import (
    BadInput,
    DeadlineExceeded,
    Draining,
    GatewayError,
    NoWorker,
    UnknownModel,
    WorkerFailed,
    WorkerLost,
)
from tests.support.core_driver import RecordingObserver
from tests.support.fake_clock import FakeClock, settle
from tests.support.fake_link import FakeBody, FakeLink, make_job, offer


@asynccontextmanager
async def running(
    clock: FakeClock, *links: FakeLink, slots: int = 1, observer: Observer | None = None, **settings: object
) -> AsyncIterator[Dispatcher]:
    """A dispatcher with these workers, each proven ready for model m. Checks at the end that nothing is claimed."""
    dispatcher = Dispatcher(DispatchSettings(**settings), clock=clock, observer=observer)  # type: ignore[arg-type]
    probing = asyncio.create_task(dispatcher.run())
    for link in links:
        dispatcher.join(link, [offer("m", slots=slots)])
    await settle()
    yield dispatcher
    assert dispatcher.in_flight == 0
    assert sum(model["running"] for worker in dispatcher.workers_view() for model in worker["models"]) == 0  # type: ignore[attr-defined]
    probing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probing


async def ask(dispatcher: Dispatcher, job: Job) -> Reply:
    async with dispatcher.exchange(job) as reply:
        return Reply(reply.status, reply.metadata, _chunks(await reply.read()), reply.timing)


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    yield body


def asked(dispatcher: Dispatcher, **job: object) -> asyncio.Task[Reply]:
    return asyncio.create_task(ask(dispatcher, make_job(**job)))  # type: ignore[arg-type]


async def error_of(task: asyncio.Task[Reply]) -> BaseException | None:
    await settle()
    assert task.done()
    return task.exception()


async def test_answer() -> None:
    """A job goes to the ready worker, and its answer comes back with where the time went."""
    clock, link = FakeClock(), FakeLink("w1")
    async with running(clock, link, slots=1) as dispatcher:
        first, second = asked(dispatcher), asked(dispatcher)
        await settle()
        assert len(link.open) == 1
        await clock.advance(0.5)
        link.open[0].answer(b"cat", inference=0.008)
        await settle()
        link.open[0].answer(b"dog", inference=0.008)
        one, two = await first, await second
        assert (await one.read(), await two.read()) == (b"cat", b"dog")
        assert (one.timing.worker, one.timing.attempts, one.timing.queue_s) == ("w1", 1, 0.0)
        assert two.timing.queue_s == pytest.approx(0.5)


async def test_lost_worker() -> None:
    """A job whose worker is lost goes once more to another worker."""
    clock, lost, other = FakeClock(), FakeLink("lost", probe_result=0.001), FakeLink("other")
    async with running(clock, lost, other) as dispatcher:
        task = asked(dispatcher)
        await settle()
        dispatcher.leave(lost, "silent")
        lost.close("silent")
        await settle()
        other.open[0].answer(b"cat")
        reply = await task
        assert (reply.timing.worker, reply.timing.attempts) == ("other", 2)


async def test_lost_twice() -> None:
    """A job that loses its second worker as well is answered WorkerLost."""
    clock, links = FakeClock(), [FakeLink("a"), FakeLink("b"), FakeLink("c")]
    async with running(clock, *links) as dispatcher:
        task = asked(dispatcher)
        for _ in range(2):
            await settle()
            link = next(link for link in links if link.open)
            dispatcher.leave(link, "silent")
            link.close("silent")
        assert isinstance(await error_of(task), WorkerLost)


async def test_not_replayable() -> None:
    """A job whose body cannot be sent again is answered WorkerLost at once."""
    clock, lost, other = FakeClock(), FakeLink("lost", probe_result=0.001), FakeLink("other")
    async with running(clock, lost, other) as dispatcher:
        task = asked(dispatcher, body=FakeBody(is_replayable=False))
        await settle()
        lost.open[0].fail(LinkLost("cut"))
        assert isinstance(await error_of(task), WorkerLost)
        assert not other.seen


async def test_refused() -> None:
    """A refused job goes to another worker although the one that refused looks better."""
    clock, fast, slow = FakeClock(), FakeLink("fast", probe_result=0.001), FakeLink("slow", probe_result=0.1)
    async with running(clock, fast, slow) as dispatcher:
        task = asked(dispatcher)
        await settle()
        fast.open[0].fail(ExchangeRefused("no slot"))
        await settle()
        slow.open[0].answer()
        assert (await task).timing.attempts == 2


async def test_failed_engine() -> None:
    """A job on which the engine failed is tried once on another worker; with no other it is answered WorkerFailed."""
    clock, link, other = FakeClock(), FakeLink("a", probe_result=0.001), FakeLink("b")
    async with running(clock, link, other) as dispatcher:
        task = asked(dispatcher)
        await settle()
        link.open[0].fail(ExchangeFailed("out of memory"))
        await settle()
        other.open[0].answer()
        assert (await task).timing.worker == "b"
        dispatcher.leave(other, "gone")
        task = asked(dispatcher)
        await settle()
        link.open[0].fail(ExchangeFailed("out of memory"))
        error = await error_of(task)
        assert isinstance(error, WorkerFailed)
        assert "out of memory" in error.detail


async def test_bad_input() -> None:
    """What the client's own input deserved passes through, and does not count against the worker."""
    clock, link = FakeClock(), FakeLink("w1")
    async with running(clock, link, FakeLink("w2", probe_result=0.5), eject_after=1) as dispatcher:
        task = asked(dispatcher)
        await settle()
        link.open[0].fail(BadInput("not an image"))
        assert isinstance(await error_of(task), BadInput)
        assert dispatcher.models == {"m": 2}
        assert len(link.seen) == 1


async def test_client_gone_while_running() -> None:
    """A client that leaves has its work cancelled at the worker, and the credit comes back."""
    clock, link = FakeClock(), FakeLink("w1")
    async with running(clock, link) as dispatcher:
        task = asked(dispatcher)
        await settle()
        task.cancel()
        await settle()
        assert link.seen[0].was_cancelled
        assert dispatcher.in_flight == 0


async def test_client_gone_while_queued() -> None:
    """A client that leaves while its job waits takes the job out of the queue; the next one is not held up."""
    clock, link = FakeClock(), FakeLink("w1")
    async with running(clock, link) as dispatcher:
        first, gone, last = asked(dispatcher), asked(dispatcher, id="gone"), asked(dispatcher, id="last")
        await settle()
        gone.cancel()
        await settle()
        assert dispatcher.queued("m") == 1
        link.open[0].answer()
        await first
        await settle()
        assert link.open[0].job.id == "last"
        link.open[0].answer()
        await last


@pytest.mark.parametrize("turns", range(8))
async def test_client_gone_as_it_is_chosen(turns: int) -> None:
    """A client that leaves at any moment around the one when a worker is chosen for its job leaves no credit taken."""
    clock, link = FakeClock(), FakeLink("w1")
    async with running(clock, link) as dispatcher:
        first, gone = asked(dispatcher), asked(dispatcher)
        await settle()
        link.open[0].answer()
        await settle(turns)
        gone.cancel()
        await first
        await settle()
        again = asked(dispatcher)
        await settle()
        link.open[0].answer()
        await again


async def test_deadline_while_queued_and_running() -> None:
    """At its deadline a job is answered DeadlineExceeded, whether it waits or runs, and the worker is told."""
    clock, link = FakeClock(), FakeLink("w1")
    async with running(clock, link) as dispatcher:
        runs, waits = asked(dispatcher, deadline=clock.now() + 2), asked(dispatcher, deadline=clock.now() + 1)
        await clock.advance(1)
        assert isinstance(await error_of(waits), DeadlineExceeded)
        assert not runs.done()
        await clock.advance(1)
        assert isinstance(await error_of(runs), DeadlineExceeded)
        assert link.seen[0].was_cancelled


async def test_takeover() -> None:
    """A worker that comes back takes its own place: the stale link is closed, and its jobs run on the new one."""
    clock, stale, fresh = FakeClock(), FakeLink("w1"), FakeLink("w1")
    async with running(clock, stale) as dispatcher:
        task = asked(dispatcher)
        await settle()
        dispatcher.join(fresh, [offer("m")])
        assert stale.closed is not None
        assert "superseded" in stale.closed
        dispatcher.leave(stale, "closed")
        await settle()
        fresh.open[0].answer()
        assert (await task).timing.attempts == 2
        assert len(dispatcher.workers_view()) == 1


async def test_reconnect_costs_nothing() -> None:
    """While the only worker of a model reconnects its jobs wait; when it stays away they are answered NoWorker."""
    clock, link = FakeClock(), FakeLink("w1")
    async with running(clock, link, absence_s=2.0) as dispatcher:
        dispatcher.leave(link, "gone")
        waiting = asked(dispatcher)
        await clock.advance(1.0)
        back = FakeLink("w1")
        dispatcher.join(back, [offer("m")])
        await settle()
        back.open[0].answer()
        await waiting
        dispatcher.leave(back, "gone")
        waiting = asked(dispatcher)
        await clock.advance(3.0)
        error = await error_of(waiting)
        assert isinstance(error, NoWorker)
        assert error.retry_after_s
        assert isinstance(await error_of(asked(dispatcher)), NoWorker)


async def test_unknown_model() -> None:
    """A model that nobody ever announced is UnknownModel."""
    async with running(FakeClock(), FakeLink()) as dispatcher:
        assert isinstance(await error_of(asked(dispatcher, model="nobody")), UnknownModel)


async def test_held_answer() -> None:
    """An answer of declared length is taken whole, so that the credit is free before the client has read it."""
    clock, link = FakeClock(), FakeLink("w1")
    async with running(clock, link) as dispatcher:
        reading, read = asyncio.Event(), asyncio.Event()

        async def slow_client() -> bytes:
            async with dispatcher.exchange(make_job()) as reply:
                reading.set()
                await read.wait()
                return await reply.read()

        task = asyncio.create_task(slow_client())
        await settle()
        link.open[0].answer(b"cat")
        await reading.wait()
        assert dispatcher.in_flight == 0
        assert not link.open
        read.set()
        assert await task == b"cat"


async def test_lost_halfway_through_a_held_answer() -> None:
    """A worker lost in the middle of an answer of declared length costs the client nothing."""

    async def cut() -> AsyncIterator[bytes]:
        yield b"ca"
        raise LinkLost("cut")

    clock, link, other = FakeClock(), FakeLink("a", probe_result=0.001), FakeLink("b")
    async with running(clock, link, other) as dispatcher:
        task = asked(dispatcher)
        await settle()
        link.open[0].head.set_result(Reply(200, (("content-length", "3"),), cut(), Timing()))
        await settle()
        other.open[0].answer(b"cat")
        assert await (await task).read() == b"cat"


async def test_streamed_answer() -> None:
    """An answer of unknown length reaches the client chunk by chunk; a worker lost on the way is then WorkerLost."""
    chunks: asyncio.Queue[bytes] = asyncio.Queue()

    async def stream() -> AsyncIterator[bytes]:
        yield await chunks.get()
        raise LinkLost("cut")

    clock, link, got = FakeClock(), FakeLink("a"), []
    async with running(clock, link) as dispatcher:

        async def client() -> None:
            async with dispatcher.exchange(make_job()) as reply:
                async for chunk in reply.body:
                    got.append(chunk)
                    assert link.open, "the exchange was left before its answer was whole"

        task = asyncio.create_task(client())
        await settle()
        link.open[0].stream(stream())
        chunks.put_nowait(b"ca")
        await settle()
        assert got == [b"ca"]
        with pytest.raises(WorkerLost):
            await task


async def test_answer_longer_than_declared() -> None:
    """An answer that is longer than it declares is the worker's failure."""
    clock, link = FakeClock(), FakeLink("a")
    async with running(clock, link, reply_hold_bytes=4) as dispatcher:
        task = asked(dispatcher)
        await settle()
        link.open[0].answer(b"12345", metadata=(("content-length", "4"),))
        assert isinstance(await error_of(task), WorkerFailed)


async def test_drain() -> None:
    """Draining refuses new jobs with a Retry-After, finishes those that are here, and then says so."""
    clock, link = FakeClock(), FakeLink("w1")
    async with running(clock, link) as dispatcher:
        runs, waits = asked(dispatcher), asked(dispatcher)
        await settle()
        draining = asyncio.create_task(dispatcher.drain(grace_s=5.0))
        await settle()
        refused = await error_of(asked(dispatcher))
        assert isinstance(refused, Draining)
        assert refused.retry_after_s
        assert dispatcher.is_draining
        link.open[0].answer()
        await runs
        assert not draining.done()
        await settle()
        link.open[0].answer()
        await waits
        assert await draining is True


async def test_drain_waits_for_open_requests() -> None:
    """A request that was accepted may still bring jobs while its bodies arrive; a new one is refused."""
    clock, link = FakeClock(), FakeLink("w1")
    async with running(clock, link) as dispatcher:
        with dispatcher.open_request():
            draining = asyncio.create_task(dispatcher.drain(grace_s=5.0))
            await settle()
            with pytest.raises(Draining) as refused, dispatcher.open_request():
                raise AssertionError("it was let in")
            assert refused.value.retry_after_s
            late = asked(dispatcher)
            await settle()
            link.open[0].answer()
            await late
            assert not draining.done()
        assert await draining is True
        assert isinstance(await error_of(asked(dispatcher)), Draining)


async def test_drain_grace() -> None:
    """Draining gives up when its grace time has passed."""
    clock, link = FakeClock(), FakeLink("w1")
    async with running(clock, link) as dispatcher:
        task = asked(dispatcher)
        await settle()
        draining = asyncio.create_task(dispatcher.drain(grace_s=5.0))
        await clock.advance(5.0)
        assert await draining is False
        task.cancel()
        await settle()


async def test_draining_worker() -> None:
    """A draining worker finishes its job and gets no other one."""
    clock, link, other = FakeClock(), FakeLink("a", probe_result=0.001), FakeLink("b")
    async with running(clock, link, other) as dispatcher:
        first = asked(dispatcher)
        await settle()
        dispatcher.drain_worker(link)
        link.open[0].answer()
        await first
        second = asked(dispatcher)
        await settle()
        other.open[0].answer()
        assert (await second).timing.worker == "b"


@pytest.mark.parametrize("error", [LinkLost("cut"), TimeoutError(), RuntimeError("a bug")])
async def test_failed_probe(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """A worker whose probe fails, in whatever way, is not ready; it is probed again and then is."""
    clock, link = FakeClock(), FakeLink("w1", probe_result=error)
    async with running(clock, link, probe_retry_s=1.0) as dispatcher:
        assert dispatcher.models == {"m": 0}
        assert link.probes == ["m"]
        link.probe_result = 0.01
        await clock.advance(1.5)
        assert dispatcher.models == {"m": 1}
        assert bool(caplog.records) is isinstance(error, RuntimeError)


async def test_view() -> None:
    """Operators see each worker with its state, its counts, what it says of itself, and what is expected of it."""
    clock, link = FakeClock(), FakeLink("w1", rtt_s=0.005, probe_result=0.01)
    async with running(clock, link) as dispatcher:
        await clock.advance(1.0)
        dispatcher.load(link, LoadReport(running=2, waiting=1, details={"gpu": 0.5}))
        dispatcher.drain_worker(link)
        (view,) = dispatcher.workers_view()
        assert json.loads(json.dumps(view)) == {
            "worker": "w1",
            "connected_s": 1.0,
            "rtt_ms": 5.0,
            "draining": True,
            "about": {"software": "fake"},
            "load": {"running": 2, "waiting": 1, "gpu": 0.5},
            "models": [
                {
                    "model": "m",
                    "version": "1",
                    "state": "ready",
                    "reason": "an inference succeeded",
                    "slots": 1,
                    "credits": 1,
                    "running": 0,
                    "service_ms": 10.0,
                    "expected_ms": 15.0,
                    "answered": 0,
                    "failed": 0,
                    "failures_in_a_row": 0,
                    "ejected_for_s": None,
                    "metadata": {},
                }
            ],
        }


@pytest.mark.parametrize("is_held", [True, False])
async def test_service_is_learnt(is_held: bool) -> None:
    """What the worker measured goes into its estimate, whether its answer was held or streamed."""
    clock, link = FakeClock(), FakeLink("w1", probe_result=0.010)
    async with running(clock, link, smoothing=0.5) as dispatcher:
        task = asked(dispatcher)
        await settle()
        metadata = (("content-length", "3"),) if is_held else ()
        link.open[0].answer(b"cat", metadata=metadata, worker_queue=5.0, decode=0.005, inference=0.015)
        await task
        (model,) = dispatcher.workers_view()[0]["models"]  # type: ignore[misc]
        assert model["service_ms"] == 15.0
        assert model["answered"] == 1


async def test_ends_are_told() -> None:
    """Each job's end is told with the code that its client gets, or that it left."""
    clock, link, observer = FakeClock(), FakeLink("w1"), RecordingObserver()
    async with running(clock, link, observer=observer) as dispatcher:
        for end in ("answer", "bad", "leave", "late"):
            task = asked(dispatcher, id=end, deadline=clock.now() + 5)
            await settle()
            if end == "answer":
                link.open[0].answer()
            elif end == "bad":
                link.open[0].fail(BadInput("not an image"))
            elif end == "leave":
                task.cancel()
            else:
                await clock.advance(5)
            await asyncio.wait([task])
            assert task.cancelled() or task.exception() or task.result()
        assert [(job, outcome) for job, outcome, _ in observer.ended] == [
            ("answer", "answered"),
            ("bad", "bad_input"),
            ("leave", "cancelled"),
            ("late", "deadline_exceeded"),
        ]


async def test_the_callers_own_timeout() -> None:
    """A TimeoutError of the caller's own passes through as it is."""
    clock, link = FakeClock(), FakeLink("w1")

    async def client() -> None:
        async with dispatcher.exchange(make_job()):
            raise TimeoutError("the caller's")

    async with running(clock, link) as dispatcher:
        task = asyncio.create_task(client())
        await settle()
        link.open[0].answer()
        with pytest.raises(TimeoutError, match="the caller's"):
            await task


async def test_errors_are_for_clients() -> None:
    """Whatever an exchange ends with is a GatewayError, never a word of the tunnel."""
    for error in (LinkLost("cut"), ExchangeRefused("busy"), ExchangeFailed("bug")):
        clock, link = FakeClock(), FakeLink("w1")
        async with running(clock, link) as dispatcher:
            task = asked(dispatcher)
            for _ in range(10):
                await settle()
                if link.open:
                    link.open[0].fail(error)
            assert isinstance(await error_of(task), GatewayError)


async def test_leaving_a_streamed_answer() -> None:
    """A client that leaves in the middle of a streamed answer has left the link's exchange when its own is left."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"more"

    async def client() -> None:
        async with dispatcher.exchange(make_job()) as reply:
            assert await anext(reply.body) == b"more"
        assert not link.open
        assert dispatcher.in_flight == 0

    clock, link = FakeClock(), FakeLink("w1")
    async with running(clock, link) as dispatcher:
        task = asyncio.create_task(client())
        await settle()
        link.open[0].stream(endless())
        await task
