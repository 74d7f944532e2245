"""One tunnel of a worker: its exchanges, what cancels them, and how it drains."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from edge_worker.admission import Admission
from edge_worker.backends.base import Answer, BackendFailed
from edge_worker.exchange_runner import ExchangeRunner
from edge_worker.tunnel import Tunnel
from edge_worker.whole import HELD_BODIES
from tests.support.fake_backend import FakeBackend
from tests.support.fake_clock import settle
from tests.support.far_end import FarGateway, run_bounded, until
from tests.support.memory_channel import memory_channels
from tests.support.session_pair import HELLO
from wire.errors import CloseCode, ExchangeCode
from wire.events import (
    LoadReported,
    ModelsChanged,
    PeerDraining,
    ResponseReceived,
    SessionEnded,
    TokenReceived,
)
from wire.frames import Load, Model
from wire.limits import KIB, Limits

ANSWER = Answer(b"yes", durations_s={"inference": 0.01})
MAX_BODY_BYTES = 1000 * KIB


class Bench:
    """A tunnel under test, a gateway at its other end, and a backend behind it."""

    def __init__(
        self, outcome: Answer | Exception | None = ANSWER, *, slots: int = 1, expires_in_s: float = 0.0
    ) -> None:
        self.loop = asyncio.get_running_loop()
        far, near = memory_channels()
        self.backend = FakeBackend(outcome)
        self.admission = Admission(slots)
        self.gateway = FarGateway(far, expires_in_s=expires_in_s)
        runner = ExchangeRunner(self.backend, {"m": self.admission}, self.loop.time)
        self.tunnel = Tunnel(near, "wss://g", HELLO, runner, Limits(), MAX_BODY_BYTES, self.loop.time)
        self.near = near
        self.run = asyncio.create_task(self.tunnel.run())

    async def open(self) -> Bench:
        await self.gateway.let_in()
        await until(lambda: self.tunnel.is_open)
        return self

    async def computing(self, count: int = 1) -> None:
        """Until so many calls wait in the backend."""
        await until(lambda: len(self.backend.waiting) >= count)

    async def close(self) -> SessionEnded:
        """Ends the tunnel, if it has not ended, and everything around it."""
        self.gateway.session.close(CloseCode.SHUTTING_DOWN, "the test is over")
        self.gateway.wake()
        ended = await self.run
        await self.gateway.ended()
        return ended


def on_bench(test: Callable[[Bench], Awaitable[None]], *args: object, **kwargs: object) -> None:
    """Runs `test` with an open tunnel, and closes it."""

    async def main() -> None:
        bench = await Bench(*args, **kwargs).open()  # type: ignore[arg-type]
        await test(bench)
        await bench.close()

    run_bounded(main)


def test_an_exchange_is_answered() -> None:
    """The body goes to the backend whole, and its answer comes back with head and body."""

    async def test(bench: Bench) -> None:
        body = bytes(range(256)) * 2048  # 512 KiB, in many chunks and over the first window
        head, answer = await bench.gateway.answer(bench.gateway.ask(body, body_bytes=len(body)))
        assert bytes(bench.backend.calls[0].body) == body
        assert (head.status, head.body_bytes, answer) == (200, 3, b"yes")

    on_bench(test)


def test_exchanges_run_side_by_side() -> None:
    """Two exchanges compute at once, and the second may be answered first."""

    async def test(bench: Bench) -> None:
        first, second = bench.gateway.ask(b"one"), bench.gateway.ask(b"two")
        await bench.computing(2)
        bench.backend.waiting[1].set_result(Answer(b"2"))
        assert (await bench.gateway.answer(second))[1] == b"2"
        bench.backend.waiting[0].set_result(Answer(b"1"))
        assert (await bench.gateway.answer(first))[1] == b"1"

    on_bench(test, None, slots=2)


def test_a_failure_is_told_with_its_code() -> None:
    """What the runner calls a failure ends the exchange with that code, and the tunnel goes on."""

    async def test(bench: Bench) -> None:
        failed = await bench.gateway.failure(bench.gateway.ask())
        assert (failed.code, failed.text) == (ExchangeCode.BACKEND_FAILED, "broken")
        assert bench.tunnel.is_open

    on_bench(test, BackendFailed("broken"))


def test_an_answer_that_cannot_be_sent_is_a_failure() -> None:
    """A backend's answer that no head can carry fails its exchange instead of leaving it open for ever."""

    async def test(bench: Bench) -> None:
        assert (await bench.gateway.failure(bench.gateway.ask())).code is ExchangeCode.INTERNAL
        assert bench.tunnel.is_open

    on_bench(test, Answer(b"", content_type="x" * (100 * KIB)))


def test_a_declared_body_over_the_limit_is_refused_from_its_head() -> None:
    """A body that says that it is too long is refused before it comes."""

    async def test(bench: Bench) -> None:
        exchange = bench.gateway.ask(b"", is_whole=False, body_bytes=MAX_BODY_BYTES + 1)
        failed = await bench.gateway.failure(exchange)
        assert failed.code is ExchangeCode.PAYLOAD_TOO_LARGE
        assert str(MAX_BODY_BYTES) in failed.text
        assert bench.backend.calls == []

    on_bench(test)


def test_a_body_over_the_limit_is_refused_as_it_comes() -> None:
    """A body of undeclared length is refused when it passes the limit; one that is exactly as long is taken."""

    async def test(bench: Bench) -> None:
        assert (await bench.gateway.answer(bench.gateway.ask(bytes(MAX_BODY_BYTES))))[1] == b"yes"
        failed = await bench.gateway.failure(bench.gateway.ask(bytes(MAX_BODY_BYTES + 1)))
        assert failed.code is ExchangeCode.PAYLOAD_TOO_LARGE
        assert len(bench.backend.calls) == 1

    on_bench(test)


def test_bodies_are_bounded_together() -> None:
    """Bodies within the limit are refused, unbegun, once they are too many bytes together; what ends makes room."""

    async def test(bench: Bench) -> None:
        kept = [bench.gateway.ask(bytes(MAX_BODY_BYTES)) for _ in range(HELD_BODIES)]
        await bench.computing()
        failed = await bench.gateway.failure(bench.gateway.ask(bytes(MAX_BODY_BYTES)))
        assert failed.code is ExchangeCode.OVERLOADED
        for exchange in kept:
            bench.gateway.session.cancel(exchange, ExchangeCode.CANCELLED, "gone")
        bench.gateway.wake()
        await until(lambda: bench.backend.cancelled)
        bench.backend.outcome = ANSWER
        assert (await bench.gateway.answer(bench.gateway.ask(bytes(MAX_BODY_BYTES))))[1] == b"yes"

    on_bench(test, None)


def test_cancel_stops_running_work() -> None:
    """CANCEL ends the backend's call, frees its slot, and nothing is answered."""

    async def test(bench: Bench) -> None:
        exchange = bench.gateway.ask()
        await bench.computing()
        bench.gateway.session.cancel(exchange, ExchangeCode.CANCELLED, "gone")
        bench.gateway.wake()
        await until(lambda: bench.backend.cancelled)
        bench.backend.outcome = ANSWER
        assert (await bench.gateway.answer(bench.gateway.ask()))[1] == b"yes"
        assert not [event for event in bench.gateway.all(ResponseReceived) if event.exchange == exchange]
        assert bench.admission.running == 0

    on_bench(test, None)


def test_cancel_drops_waiting_work_before_it_computes() -> None:
    """Work that waits for a slot when it is cancelled never reaches the backend."""

    async def test(bench: Bench) -> None:
        first, second = bench.gateway.ask(b"first"), bench.gateway.ask(b"second")
        await bench.computing()
        await until(lambda: bench.admission.waiting)
        bench.gateway.session.cancel(second, ExchangeCode.CANCELLED, "gone")
        bench.gateway.wake()
        await until(lambda: not bench.admission.waiting)
        bench.backend.waiting[0].set_result(ANSWER)
        await bench.gateway.answer(first)
        assert len(bench.backend.calls) == 1

    on_bench(test, None)


def test_cancel_drops_a_body_that_is_still_coming() -> None:
    """A request that is cancelled half sent computes nothing, and the next one does."""

    async def test(bench: Bench) -> None:
        exchange = bench.gateway.ask(b"half", is_whole=False)
        await settle()
        bench.gateway.session.cancel(exchange, ExchangeCode.CANCELLED, "gone")
        bench.gateway.wake()
        await bench.gateway.answer(bench.gateway.ask(b"whole"))
        assert [bytes(call.body) for call in bench.backend.calls] == [b"whole"]

    on_bench(test)


def test_a_body_that_breaks_its_promise_fails_alone() -> None:
    """A body shorter than its head says costs that exchange and no other."""

    async def test(bench: Bench) -> None:
        broken = bench.gateway.ask(b"short", body_bytes=100)
        assert (await bench.gateway.failure(broken)).code is ExchangeCode.BAD_REQUEST
        assert (await bench.gateway.answer(bench.gateway.ask()))[1] == b"yes"

    on_bench(test)


def test_the_end_of_the_tunnel_drops_its_work() -> None:
    """A connection that goes away cancels what was being computed for it; no task stays behind."""

    async def main() -> None:
        bench = await Bench(None).open()
        bench.gateway.ask()
        await bench.computing()
        await bench.near.break_off("the cable was pulled")
        ended = await bench.run
        assert (ended.code, ended.by_peer) == (CloseCode.PEER_LOST, True)
        assert bench.backend.cancelled == 1
        await bench.gateway.ended()

    run_bounded(main)


def test_cancelling_the_tunnel_drops_its_work() -> None:
    """A worker that is stopped at once takes its calls along and closes the channel."""

    async def main() -> None:
        bench = await Bench(None).open()
        bench.gateway.ask()
        await bench.computing()
        bench.run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await bench.run
        assert bench.backend.cancelled == 1
        assert bench.near.closes == 1
        await bench.gateway.ended()

    run_bounded(main)


def test_draining_an_idle_tunnel_leaves_at_once() -> None:
    """With nothing in flight the worker says DRAIN, hears that it was heard, says goodbye, and no time passes."""

    async def main() -> None:
        bench = await Bench().open()
        began = bench.loop.time()
        assert await bench.tunnel.drain(30.0, "leaving") == 0
        ended = await bench.run
        assert (ended.code, ended.by_peer) == (CloseCode.SHUTTING_DOWN, False)
        assert (await bench.gateway.ended()).code is CloseCode.SHUTTING_DOWN
        assert bench.gateway.all(PeerDraining) == [PeerDraining(30.0, "leaving")]
        assert bench.loop.time() - began < 0.5

    run_bounded(main)


def test_draining_finishes_what_was_accepted() -> None:
    """What was computing, and what was on its way when DRAIN was said, is answered before the goodbye."""

    async def main() -> None:
        bench = await Bench(None, slots=2).open()
        first = bench.gateway.ask(b"first")
        await bench.computing()
        drain = asyncio.create_task(bench.tunnel.drain(30.0, "leaving"))
        second = bench.gateway.ask(b"second")  # before the gateway has heard
        await bench.computing(2)
        bench.backend.waiting[1].set_result(ANSWER)
        await bench.gateway.answer(second)
        await settle()
        assert not drain.done()
        bench.backend.waiting[0].set_result(ANSWER)
        assert (await bench.gateway.answer(first))[1] == b"yes"
        await drain
        await bench.run
        await bench.gateway.ended()

    run_bounded(main)


def test_draining_ends_with_the_grace(caplog: pytest.LogCaptureFixture) -> None:
    """Work that outlasts the grace time is left undone, and the log says how much."""

    async def main() -> None:
        bench = await Bench(None).open()
        bench.gateway.ask()
        await bench.computing()
        began = bench.loop.time()
        assert await bench.tunnel.drain(5.0, "leaving") == 1
        assert bench.loop.time() - began == pytest.approx(5.0)
        await bench.run
        await bench.gateway.ended()
        assert bench.backend.cancelled == 1

    run_bounded(main)
    undone = [record for record in caplog.records if record.message == "left with work undone"]
    assert [record.exchanges for record in undone] == [1]  # type: ignore[attr-defined]


def test_a_refused_body_does_not_hold_up_the_drain() -> None:
    """When the last open exchange ends by a refusal, the worker leaves then and not at the end of its grace."""

    async def main() -> None:
        bench = await Bench().open()
        exchange = bench.gateway.ask(b"begin", is_whole=False)
        began = bench.loop.time()
        drain = asyncio.create_task(bench.tunnel.drain(30.0, "leaving"))
        await bench.gateway.wait(PeerDraining)
        await settle()
        bench.gateway.session.send_body(exchange, bytes(MAX_BODY_BYTES), end=True)
        bench.gateway.wake()
        assert (await bench.gateway.failure(exchange)).code is ExchangeCode.PAYLOAD_TOO_LARGE
        await drain
        assert bench.loop.time() - began < 1.0
        await bench.run
        await bench.gateway.ended()

    run_bounded(main)


def test_draining_before_the_welcome_waits_for_it() -> None:
    """A worker told to leave between HELLO and WELCOME still answers what the gateway sent behind its WELCOME."""

    async def main() -> None:
        bench = Bench()
        drain = asyncio.create_task(bench.tunnel.drain(30.0, "leaving"))
        await settle()
        await bench.gateway.let_in()
        assert (await bench.gateway.answer(bench.gateway.ask()))[1] == b"yes"
        await drain
        await bench.run
        await bench.gateway.ended()

    run_bounded(main)


def test_draining_ends_when_the_tunnel_does() -> None:
    """A gateway that goes away while the worker drains ends the drain at once."""

    async def main() -> None:
        bench = await Bench(None).open()
        bench.gateway.ask()
        await bench.computing()
        began = bench.loop.time()
        drain = asyncio.create_task(bench.tunnel.drain(30.0, "leaving"))
        await settle()
        await bench.close()
        await drain
        assert bench.loop.time() - began < 5.0

    run_bounded(main)


def test_the_load_is_told_once() -> None:
    """A load is sent when it is another than the last one told on this tunnel, the first in any case."""

    async def test(bench: Bench) -> None:
        for load in (Load(0, 0), Load(0, 0), Load(1, 0), Load(1, 0)):
            bench.tunnel.report_load(load)
        await bench.gateway.wait(LoadReported, 2)
        await settle()
        assert [event.load for event in bench.gateway.all(LoadReported)] == [Load(0, 0), Load(1, 0)]

    on_bench(test)


def test_a_newer_token_is_offered_and_confirmed(caplog: pytest.LogCaptureFixture) -> None:
    """The token goes to the gateway in-band, and its new end is logged; the token is not."""
    caplog.set_level(logging.INFO)

    async def test(bench: Bench) -> None:
        bench.tunnel.offer_token("new-token")
        assert (await bench.gateway.wait(TokenReceived)).token == "new-token"
        bench.gateway.session.accept_token(3600)
        bench.gateway.wake()
        await settle()

    on_bench(test)
    assert [record.expires_in_s for record in caplog.records if record.message == "token renewed"] == [3600]  # type: ignore[attr-defined]
    assert "new-token" not in caplog.text


@pytest.mark.parametrize(("expires_in_s", "warnings"), [(0.0, 0), (100.0, 1), (3600.0, 0)])
def test_a_token_that_ends_soon_is_warned_of(
    expires_in_s: float, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A token with minutes left was probably forgotten; one without an end, or far from it, is fine."""

    async def test(bench: Bench) -> None:
        assert bench.tunnel.is_open

    on_bench(test, expires_in_s=expires_in_s)
    assert sum(record.message == "the token expires soon" for record in caplog.records) == warnings


@pytest.mark.parametrize("is_in", [True, False])
def test_models_are_announced_anew(is_in: bool) -> None:
    """At once on an open tunnel; else when the gateway has let us in, whose HELLO had the older ones."""

    async def main() -> None:
        bench = Bench()
        if is_in:
            await bench.open()
        newer = (Model("m", "1", 1, "its engine hangs"),)
        bench.tunnel.update_models(newer)
        if not is_in:
            await bench.open()
        await bench.gateway.wait(ModelsChanged, models=newer)
        assert len(bench.gateway.all(ModelsChanged)) == 1
        await bench.close()

    run_bounded(main)
