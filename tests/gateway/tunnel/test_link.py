"""A worker as a Link: jobs become exchanges, and every way in which one can end has its exception."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from math import inf

import pytest

from gateway.dispatch.model import (
    Body,
    ExchangeFailed,
    ExchangeRefused,
    Job,
    LinkLost,
    LoadReport,
    ModelOffer,
)
from gateway.errors import (
    BadInput,
    BadRequest,
    ClientGone,
    DeadlineExceeded,
    PayloadTooLarge,
    SlowBody,
    UnsupportedMedia,
)
from gateway.tunnel.link import WorkerLink
from tests.support.fake_clock import settle
from tests.support.far_end import FarWorker, run_bounded, until
from tests.support.memory_channel import memory_channels
from tests.support.session_pair import HELLO
from wire.errors import CloseCode, ExchangeCode
from wire.events import BodyReceived, ExchangeCancelled, RequestReceived, SessionEnded
from wire.frames import Hello, Load, Model, ResponseHead
from wire.limits import KIB, Limits


class FedBody:
    """A body that a test feeds."""

    is_replayable = True

    def __init__(self, *chunks: bytes | Exception, size: int | None = None, is_complete: bool = True) -> None:
        self._chunks = list(chunks)
        self._news = asyncio.Event()
        self._size = size
        self.is_complete = is_complete

    @property
    def size(self) -> int | None:
        return sum(len(chunk) for chunk in self._chunks) if self.is_complete else self._size  # type: ignore[arg-type]

    def arrive(self, chunk: bytes | Exception = b"", *, is_last: bool = False) -> None:
        if chunk:
            self._chunks.append(chunk)
        self.is_complete = is_last
        self._news.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        index = 0
        while True:
            while index < len(self._chunks):
                chunk = self._chunks[index]
                index += 1
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
            if self.is_complete:
                return
            self._news.clear()
            await self._news.wait()


class Owner:
    """Lets everybody in and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def introduced(self, link: WorkerLink, hello: Hello) -> None:
        link.welcome("session-1", "gateway-1", 3600, {"site": "lab"})

    def changed(self, link: WorkerLink, offers: Sequence[ModelOffer]) -> None:
        self.told.append(("changed", *offers))

    def reported(self, link: WorkerLink, report: LoadReport) -> None:
        self.told.append(("reported", report))

    def draining(self, link: WorkerLink, text: str) -> None:
        self.told.append(("draining", text))

    def offered_token(self, link: WorkerLink, token: str) -> None:
        self.told.append(("offered", token))

    def ended(self, link: WorkerLink, event: SessionEnded) -> None:
        self.told.append(("ended", event.code))


class Bench:
    """A link under test, and a worker at its other end, whose clock is ahead by `skew_s`."""

    def __init__(self, *, skew_s: float = 0.0, heartbeat_s: float = 2.0) -> None:
        self.loop = asyncio.get_running_loop()
        near, far = memory_channels()
        self.owner = Owner()
        self.near = near
        self.link = WorkerLink(near, Limits(heartbeat_interval_s=heartbeat_s), self.owner, self.loop.time)
        self.worker = FarWorker(far, clock_ahead_s=skew_s)
        self.run = asyncio.create_task(self.link.run())

    async def open(self) -> Bench:
        self.worker.introduce(HELLO)
        await until(lambda: self.link.worker)
        await until(lambda: self.link.rtt_s)
        return self

    def job(self, body: Body | None = None, **changes: object) -> Job:
        fields: dict[str, object] = {
            "id": "job-1",
            "model": "digits",
            "method": "POST",
            "path": "/inference/digits?top=3",
            "metadata": (("content-type", "image/png"),),
            "body": body or FedBody(b"picture"),
            "deadline": self.loop.time() + 30.0,
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        }
        return Job(**fields | changes)  # type: ignore[arg-type]

    def send(self, body: Body | None = None, **changes: object) -> asyncio.Task[bytes]:
        """Carries a job there and reads all of its answer."""

        async def exchange() -> bytes:
            async with self.link.exchange(self.job(body, **changes)) as reply:
                return await reply.read()

        return asyncio.create_task(exchange())

    async def close(self) -> None:
        self.link.close("the test is over")
        await self.run
        await self.worker.ended()


def on_bench(test: Callable[[Bench], Awaitable[None]], *, skew_s: float = 0.0, heartbeat_s: float = 2.0) -> None:
    """Runs `test` with an open link, and closes it; nothing may stay behind."""

    async def main() -> None:
        bench = await Bench(skew_s=skew_s, heartbeat_s=heartbeat_s).open()
        await test(bench)
        assert bench.link._calls == {}
        assert bench.link._session.open_exchanges == 0
        await bench.close()

    run_bounded(main)


def test_a_job_goes_there_and_its_reply_comes_back() -> None:
    """The request's head says all of the job, and the reply all of the answer."""

    async def test(bench: Bench) -> None:
        async def answer() -> None:
            number = await bench.worker.whole_request()
            bench.worker.answer(number, b'{"label":7}', metadata=(("content-type", "application/json"),))

        answering = asyncio.create_task(answer())
        async with bench.link.exchange(bench.job()) as reply:
            assert reply.status == 200
            assert reply.metadata == (("content-type", "application/json"), ("content-length", "11"))
            assert await reply.read() == b'{"label":7}'
        await answering
        head = bench.worker.all(RequestReceived)[0].head
        assert (head.method, head.path, head.model) == ("POST", "/inference/digits?top=3", "digits")
        assert head.metadata == (("content-type", "image/png"),)
        assert head.traceparent == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        assert 29_000 < head.deadline_ms <= 30_000
        assert head.body_bytes == 7
        assert bench.worker.bodies[1] == b"picture"

    on_bench(test)


def test_the_body_is_forwarded_while_it_arrives() -> None:
    """Each chunk is at the worker before the client has sent the next; the end is told when it is known."""

    async def test(bench: Bench) -> None:
        body = FedBody(is_complete=False)
        task = bench.send(body)
        began = bench.loop.time()
        number = await bench.worker.request()
        assert bench.loop.time() - began < 0.1  # the head does not wait for the first chunk
        for count, chunk in enumerate((b"one", b"two", b"three"), start=1):
            body.arrive(chunk)
            assert bytes((await bench.worker.wait(BodyReceived, count)).data) == chunk
        body.arrive(is_last=True)
        await bench.worker.whole_request()
        bench.worker.answer(number, b"done")
        assert await task == b"done"

    on_bench(test)


def test_a_large_body_waits_for_the_worker() -> None:
    """With a worker that does not take it, only a window and a little of a large body leaves the client's buffer."""

    async def test(bench: Bench) -> None:
        bench.worker.is_greedy = False
        chunks = [bytes(16 * KIB)] * 256
        body = FedBody(*chunks, is_complete=False)
        task = bench.send(body)
        number = await bench.worker.request()
        await asyncio.sleep(1.0)
        assert len(bench.worker.bodies[number]) == HELLO.window
        assert bench.link._session.unsent_bytes(number) <= 64 * KIB + 16 * KIB
        body.arrive(is_last=True)
        bench.worker.is_greedy = True
        bench.worker.session.consume(number, HELLO.window, bench.worker.now())
        bench.worker.wake()
        await bench.worker.whole_request()
        assert len(bench.worker.bodies[number]) == 4096 * KIB
        bench.worker.answer(number, b"done")
        assert await task == b"done"

    on_bench(test)


def test_a_large_body_that_is_held_is_queued_at_once() -> None:
    """Its memory is taken already: the worker's window alone says how much of it crosses, and no task waits beside."""

    async def test(bench: Bench) -> None:
        bench.worker.is_greedy = False
        task = bench.send(FedBody(*[bytes(16 * KIB)] * 256))
        number = await bench.worker.request()
        await asyncio.sleep(1.0)
        assert len(bench.worker.bodies[number]) == HELLO.window
        assert bench.link._session.unsent_bytes(number) == 4096 * KIB - HELLO.window
        bench.worker.is_greedy = True
        bench.worker.session.consume(number, HELLO.window, bench.worker.now())
        bench.worker.wake()
        await bench.worker.whole_request()
        bench.worker.answer(number, b"done")
        assert await task == b"done"

    on_bench(test)


def test_a_picture_that_is_held_in_pieces_is_one_message() -> None:
    """However its client's packets came: each message more costs the worker."""

    async def test(bench: Bench) -> None:
        task = bench.send(FedBody(b"pic", b"tu", b"re"))
        number = await bench.worker.whole_request()
        assert [bytes(event.data) for event in bench.worker.all(BodyReceived)] == [b"picture"]
        bench.worker.answer(number, b"done")
        assert await task == b"done"

    on_bench(test)


@pytest.mark.parametrize("is_complete", [True, False])
def test_an_answer_may_come_before_the_body_is_sent(is_complete: bool) -> None:
    """A worker that answers early is heard at once, and the rest of the body is not sent."""

    async def test(bench: Bench) -> None:
        bench.worker.is_greedy = False
        body = FedBody(*[bytes(16 * KIB)] * 64, size=2048 * KIB, is_complete=is_complete)
        task = bench.send(body)
        bench.worker.answer(await bench.worker.request(), b"early", status=413)
        assert await task == b"early"
        assert len(bench.worker.bodies[1]) < 1024 * KIB

    on_bench(test)


def test_a_streamed_answer_is_read_while_the_body_is_still_sent() -> None:
    """The head of an answer is given out before the request's body is whole, also when that is here already."""

    async def test(bench: Bench) -> None:
        bench.worker.is_greedy = False
        async with bench.link.exchange(bench.job(FedBody(*[bytes(16 * KIB)] * 64))) as reply:
            assert reply.status == 200
            assert await anext(reply.body) == b"first"

    async def answer(bench: Bench) -> None:
        bench.worker.answer(await bench.worker.request(), b"first", is_whole=False)

    async def both(bench: Bench) -> None:
        await asyncio.gather(answer(bench), test(bench))

    on_bench(both)


@pytest.mark.parametrize("error", [SlowBody("too slow"), PayloadTooLarge("too large"), ClientGone("gone")])
def test_what_the_client_does_wrong_ends_the_exchange(error: Exception) -> None:
    """A body that breaks off raises the client's error, and the worker is told to drop the work."""

    async def test(bench: Bench) -> None:
        body = FedBody(b"half", is_complete=False)
        task = bench.send(body)
        number = await bench.worker.request()
        body.arrive(error)
        with pytest.raises(type(error)):
            await task
        await bench.worker.wait(ExchangeCancelled, exchange=number, code=ExchangeCode.CANCELLED)

    on_bench(test)


def test_a_bug_while_sending_is_not_silent() -> None:
    """An exception that a body must not raise reaches whoever waits for the answer, instead of a deadline."""

    async def test(bench: Bench) -> None:
        with pytest.raises(ZeroDivisionError):
            await bench.send(FedBody(ZeroDivisionError("a bug"), is_complete=False))

    on_bench(test)


@pytest.mark.parametrize("is_complete", [True, False])
def test_leaving_cancels_the_work(is_complete: bool) -> None:
    """A caller that is cancelled sends CANCEL, and its sender ends with it."""

    async def test(bench: Bench) -> None:
        task = bench.send(FedBody(b"half", is_complete=is_complete))
        number = await bench.worker.request()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await bench.worker.wait(ExchangeCancelled, exchange=number)

    on_bench(test)


def test_leaving_an_answer_unread_cancels_the_rest() -> None:
    """A caller that has seen enough of an answer stops it; what it knows of the timing is in the reply."""

    async def test(bench: Bench) -> None:
        async def answer() -> None:
            number = await bench.worker.whole_request()
            times = {"received_us": int(bench.worker.now() * 1e6), "sent_us": int(bench.worker.now() * 1e6) + 5000}
            bench.worker.answer(number, b"first", is_whole=False, durations_us=(("inference", 5000),), **times)

        answering = asyncio.create_task(answer())
        async with bench.link.exchange(bench.job()) as reply:
            assert await anext(reply.body) == b"first"
        await answering
        assert reply.timing.worker_s == {"inference": 0.005}
        await bench.worker.wait(ExchangeCancelled)

    on_bench(test)


def test_an_answered_exchange_is_not_cancelled() -> None:
    """After a whole answer the worker hears nothing more of it."""

    async def test(bench: Bench) -> None:
        task = bench.send()
        bench.worker.answer(await bench.worker.whole_request())
        await task
        await settle()
        assert bench.worker.all(ExchangeCancelled) == []

    on_bench(test)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (ExchangeCode.DEADLINE, DeadlineExceeded),
        (ExchangeCode.BAD_REQUEST, BadRequest),
        (ExchangeCode.BAD_INPUT, BadInput),
        (ExchangeCode.UNSUPPORTED_MEDIA_TYPE, UnsupportedMedia),
        (ExchangeCode.PAYLOAD_TOO_LARGE, PayloadTooLarge),
        (ExchangeCode.OVERLOADED, ExchangeRefused),
        (ExchangeCode.DRAINING, ExchangeRefused),
        (ExchangeCode.UNKNOWN_MODEL, ExchangeRefused),
        (ExchangeCode.BACKEND_FAILED, ExchangeFailed),
        (ExchangeCode.INTERNAL, ExchangeFailed),
        (ExchangeCode.CANCELLED, ExchangeFailed),
    ],
)
def test_each_failure_has_its_exception(code: ExchangeCode, expected: type[Exception]) -> None:
    """The client's mistakes are told to the client, work that was not begun may go elsewhere, the rest is the
    worker's failure."""

    async def test(bench: Bench) -> None:
        task = bench.send()
        bench.worker.session.fail(await bench.worker.whole_request(), code, "the reason")
        bench.worker.wake()
        with pytest.raises(expected, match="the reason") as caught:
            await task
        assert type(caught.value) is expected

    on_bench(test)


def test_every_code_of_the_wire_is_covered() -> None:
    """No exchange code is missing from the table above."""
    marks = test_each_failure_has_its_exception.pytestmark  # type: ignore[attr-defined]
    assert {code for code, _ in marks[0].args[1]} == set(ExchangeCode)


def test_a_failure_in_the_middle_of_an_answer_is_raised_by_its_body() -> None:
    """What had come of the answer is given out first."""

    async def test(bench: Bench) -> None:
        async def answer() -> None:
            number = await bench.worker.whole_request()
            bench.worker.answer(number, b"half", is_whole=False)
            await settle()
            bench.worker.session.fail(number, ExchangeCode.BACKEND_FAILED, "the engine died")
            bench.worker.wake()

        answering = asyncio.create_task(answer())
        async with bench.link.exchange(bench.job()) as reply:
            assert await anext(reply.body) == b"half"
            with pytest.raises(ExchangeFailed, match="the engine died"):
                await anext(reply.body)
        await answering

    on_bench(test)


def test_a_lost_tunnel_loses_its_exchanges() -> None:
    """Whoever waits for a head or in the middle of a body raises LinkLost; the owner is told once."""

    async def main() -> None:
        bench = await Bench().open()
        waiting, sending = bench.send(), bench.send(FedBody(b"half", is_complete=False))
        await bench.worker.request(2)
        await bench.near.break_off("the cable was pulled")
        for task in (waiting, sending):
            with pytest.raises(LinkLost, match="lab-1"):
                await task
        await bench.run
        await bench.worker.ended()
        assert bench.owner.told == [("ended", CloseCode.PEER_LOST)]
        with pytest.raises(ExchangeRefused):
            await bench.send()

    run_bounded(main)


def test_a_cancelled_link_loses_its_exchanges() -> None:
    """A server that is stopped at once leaves nobody waiting."""

    async def main() -> None:
        bench = await Bench().open()
        task = bench.send()
        await bench.worker.request()
        bench.run.cancel()
        with pytest.raises(LinkLost):
            await task
        with pytest.raises(asyncio.CancelledError):
            await bench.run
        await bench.worker.ended()
        assert [kind for kind, *_ in bench.owner.told] == ["ended"]

    run_bounded(main)


def test_a_silent_worker_is_lost() -> None:
    """Three heartbeats without a byte end the tunnel and what waits on it."""

    async def main() -> None:
        bench = await Bench().open()
        task = bench.send()
        await bench.worker.request()
        began = bench.loop.time()
        await bench.near.cut()
        with pytest.raises(LinkLost, match="nothing heard"):
            await task
        assert 4.0 < bench.loop.time() - began < 7.0
        await bench.run
        await bench.near.break_off("")
        await bench.worker.ended()

    run_bounded(main)


def test_a_draining_worker_takes_no_more() -> None:
    """After DRAIN a job is refused without being begun, and what is open is finished."""

    async def test(bench: Bench) -> None:
        task = bench.send()
        number = await bench.worker.whole_request()
        bench.worker.session.drain(30, "leaving")
        bench.worker.wake()
        await until(lambda: bench.owner.told)
        assert bench.owner.told == [("draining", "leaving")]
        with pytest.raises(ExchangeRefused, match="takes no more"):
            await bench.send()
        bench.worker.answer(number, b"last")
        assert await task == b"last"

    on_bench(test)


def test_a_head_too_large_is_the_clients_mistake() -> None:
    """Headers that the tunnel cannot carry are a bad request, and cost nobody else anything."""

    async def test(bench: Bench) -> None:
        for metadata in ([("x", "y" * 70_000)], [("x", "y")] * 300):
            with pytest.raises(BadRequest, match="too large for the tunnel"):
                await bench.send(metadata=metadata)
        task = bench.send()
        bench.worker.answer(await bench.worker.whole_request())
        await task

    on_bench(test)


def test_exchanges_do_not_mix() -> None:
    """Fifty at once, answered in reverse, each get their own answer."""

    async def test(bench: Bench) -> None:
        tasks = [bench.send(FedBody(f"picture {number}".encode())) for number in range(50)]
        numbers = [await bench.worker.whole_request(count) for count in range(1, 51)]
        for number in reversed(numbers):
            bench.worker.answer(number, b"of " + bench.worker.bodies[number])
        assert [await task for task in tasks] == [f"of picture {number}".encode() for number in range(50)]

    on_bench(test)


def test_more_than_the_worker_allows_is_refused() -> None:
    """A worker takes as many exchanges as its HELLO says; one more may go elsewhere."""

    async def test(bench: Bench) -> None:
        tasks = [bench.send() for _ in range(HELLO.max_exchanges)]
        await bench.worker.request(HELLO.max_exchanges)
        with pytest.raises(ExchangeRefused):
            await bench.send()
        for number in range(1, HELLO.max_exchanges + 1):
            bench.worker.answer(number)
        await asyncio.gather(*tasks)

    on_bench(test)


# --- probes -----------------------------------------------------------------------------------------------------------


def test_a_probe_gives_the_seconds_of_service() -> None:
    """A probe names its model, sends nothing, and adds up what the worker did but for its waiting."""

    async def test(bench: Bench) -> None:
        task = asyncio.create_task(bench.link.probe("digits", 5.0))
        number = await bench.worker.whole_request()
        durations = (("worker_queue", 1_000_000), ("decode", 2000), ("inference", 8000))
        bench.worker.answer(number, b"{}", durations_us=durations)
        assert await task == pytest.approx(0.010)
        head = bench.worker.all(RequestReceived)[0].head
        assert (head.method, head.model, head.deadline_ms) == ("PROBE", "digits", 5000)

    on_bench(test)


def test_a_probe_that_is_not_answered_ends() -> None:
    """After its time it raises TimeoutError and tells the worker to drop it."""

    async def test(bench: Bench) -> None:
        began = bench.loop.time()
        with pytest.raises(TimeoutError):
            await bench.link.probe("digits", 5.0)
        assert bench.loop.time() - began == pytest.approx(5.0)
        await bench.worker.wait(ExchangeCancelled)

    on_bench(test)


@pytest.mark.parametrize("code", [ExchangeCode.BAD_INPUT, ExchangeCode.BACKEND_FAILED])
def test_a_probe_that_fails_is_the_workers_failure(code: ExchangeCode) -> None:
    """There is no client to blame for the worker's own sample."""

    async def test(bench: Bench) -> None:
        task = asyncio.create_task(bench.link.probe("digits", 5.0))
        bench.worker.session.fail(await bench.worker.whole_request(), code, "broken model")
        bench.worker.wake()
        with pytest.raises(ExchangeFailed, match="broken model"):
            await task

    on_bench(test)


def test_a_probe_that_is_not_ok_is_a_failure() -> None:
    """An answer with another status than 200 does not prove that the model answers."""

    async def test(bench: Bench) -> None:
        task = asyncio.create_task(bench.link.probe("digits", 5.0))
        bench.worker.answer(await bench.worker.whole_request(), status=500)
        with pytest.raises(ExchangeFailed, match="500"):
            await task

    on_bench(test)


# --- where the time went ----------------------------------------------------------------------------------------------


async def timed(bench: Bench, *, is_uploaded: bool = False) -> dict[str, float]:
    """Where the time of one exchange went: 0.3 s there, 2 s at the worker, 0.1 s back."""
    body = FedBody(is_complete=False) if is_uploaded else FedBody(b"picture")

    async def answer() -> None:
        number = await bench.worker.request()
        if is_uploaded:
            await asyncio.sleep(1.0)
            body.arrive(b"picture", is_last=True)
        await bench.worker.whole_request()
        await asyncio.sleep(0.3)
        received = bench.worker.now()
        await asyncio.sleep(2.0)
        times = {"received_us": int(received * 1e6), "sent_us": int(bench.worker.now() * 1e6)}
        await asyncio.sleep(0.1)
        bench.worker.answer(number, b"{}", durations_us=(("worker_queue", 500_000), ("inference", 1_500_000)), **times)

    answering = asyncio.create_task(answer())
    async with bench.link.exchange(bench.job(body)) as reply:
        await reply.read()
    await answering
    timing = reply.timing
    assert list(timing.worker_s) == ["worker_queue", "inference"]
    return {
        "upload": timing.upload_s,
        "out": timing.tunnel_out_s,
        "worker": sum(timing.worker_s.values()),
        "back": timing.tunnel_back_s,
    }


@pytest.mark.parametrize("skew_s", [0.0, 86_400.0, -500.0])
def test_the_split_does_not_depend_on_the_workers_clock(skew_s: float) -> None:
    """However far apart the clocks are, each way takes what it took."""

    async def test(bench: Bench) -> None:
        assert await timed(bench) == pytest.approx({"upload": 0.0, "out": 0.3, "worker": 2.0, "back": 0.1}, abs=1e-3)

    on_bench(test, skew_s=skew_s)


def test_without_an_offset_the_ways_take_half_each() -> None:
    """Before the first heartbeat the tunnel's time is known and its halves are assumed to be equal."""

    async def test(bench: Bench) -> None:
        bench.link.rtt_s = 0.0
        split = await timed(bench)
        assert split["out"] == pytest.approx(split["back"])
        assert split["out"] == pytest.approx(0.2, abs=1e-3)

    on_bench(test, skew_s=86_400.0, heartbeat_s=60.0)


def test_the_clients_upload_is_not_the_tunnels_time() -> None:
    """Until the client's last byte is here the time is the upload's."""

    async def test(bench: Bench) -> None:
        split = await timed(bench, is_uploaded=True)
        assert split == pytest.approx({"upload": 1.0, "out": 0.3, "worker": 2.0, "back": 0.1}, abs=1e-3)

    on_bench(test)


def test_a_whole_bodys_way_is_the_tunnels_time() -> None:
    """A large body that was here from the start is on its way out until the worker has all of it."""

    async def test(bench: Bench) -> None:
        bench.worker.is_greedy = False

        async def answer() -> None:
            number = await bench.worker.request()
            await asyncio.sleep(3.0)
            bench.worker.is_greedy = True
            bench.worker.session.consume(number, HELLO.window, bench.worker.now())
            bench.worker.wake()
            await bench.worker.whole_request()
            now_us = int(bench.worker.now() * 1e6)
            bench.worker.answer(number, b"{}", received_us=now_us, sent_us=now_us)

        answering = asyncio.create_task(answer())
        async with bench.link.exchange(bench.job(FedBody(*[bytes(16 * KIB)] * 64))) as reply:
            await reply.read()
        await answering
        assert reply.timing.upload_s == 0.0
        assert reply.timing.tunnel_out_s == pytest.approx(3.0, abs=0.1)
        assert reply.timing.tunnel_back_s == pytest.approx(0.0, abs=0.1)

    on_bench(test)


@pytest.mark.parametrize(("received_us", "sent_us"), [(0, 0), (2**52, 0), (0, 2**52), (2**52, 2**52)])
def test_a_worker_that_lies_about_time_spoils_only_its_figures(received_us: int, sent_us: int) -> None:
    """Whatever times an answer claims, no part is negative and none is longer than the exchange took."""

    async def test(bench: Bench) -> None:
        async def answer() -> None:
            bench.worker.answer(await bench.worker.whole_request(), received_us=received_us, sent_us=sent_us)

        answering = asyncio.create_task(answer())
        began = bench.loop.time()
        async with bench.link.exchange(bench.job()) as reply:
            await reply.read()
        await answering
        took_s = bench.loop.time() - began
        assert 0.0 <= reply.timing.tunnel_out_s <= took_s
        assert 0.0 <= reply.timing.tunnel_back_s <= took_s

    on_bench(test)


# --- what the owner hears ---------------------------------------------------------------------------------------------


def test_the_owner_hears_what_the_worker_says() -> None:
    """Models, load, a newer token and the end reach the owner in dispatch's words, in order."""

    async def main() -> None:
        bench = await Bench().open()
        bench.worker.session.update_models([Model("digits", "2", 4, "", {"labels": 10})])
        bench.worker.session.report_load(Load(1, 2, {"cpu": 3}))
        bench.worker.session.offer_token("token-2")
        bench.worker.wake()
        await asyncio.sleep(0.1)
        assert bench.link.about == {"site": "lab"}
        await bench.close()
        assert bench.owner.told == [
            ("changed", ModelOffer("digits", "2", 4, "", {"labels": 10})),
            ("reported", LoadReport(1, 2, {"cpu": 3})),
            ("offered", "token-2"),
            ("ended", CloseCode.SUPERSEDED),
        ]

    run_bounded(main)


def test_what_comes_before_and_after_an_answer() -> None:
    """Informational heads are told as they come; trailers are there once the body is consumed; no deadline is none."""

    async def test(bench: Bench) -> None:
        told: list[tuple[int, object]] = []

        async def answer() -> None:
            number = await bench.worker.whole_request()
            bench.worker.session.respond(number, ResponseHead(103, (("link", "a"),)))
            bench.worker.session.respond(number, ResponseHead(200))
            bench.worker.session.send_body(number, b"body", end=True, trailers=(("checksum", "9b1c"),))
            bench.worker.wake()

        answering = asyncio.create_task(answer())
        job = bench.job(deadline=inf, on_informational=lambda status, metadata: told.append((status, metadata)))
        async with bench.link.exchange(job) as reply:
            assert told == [(103, (("link", "a"),))]
            assert await reply.read() == b"body"
            assert reply.trailers == [("checksum", "9b1c")]
        await answering
        assert bench.worker.all(RequestReceived)[0].head.deadline_ms == 0

    on_bench(test)
