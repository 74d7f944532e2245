"""Streamed exchanges through a worker's tunnel: slots, deadlines, credit, and what failures are called."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from edge_worker.admission import Admission
from edge_worker.backends.base import BackendFailed, BadInput, Changed, NotReady, ServedModel
from edge_worker.backends.forwarding import Exchange, Headers
from edge_worker.forward_runner import ForwardRunner
from edge_worker.tunnel import Tunnel
from tests.support.far_end import FarGateway, run_bounded, until
from tests.support.memory_channel import memory_channels
from tests.support.session_pair import HELLO
from wire.errors import CloseCode, ExchangeCode
from wire.events import BodyEnded, BodyReceived, ResponseReceived
from wire.frames import RequestHead
from wire.limits import Limits

Forward = Callable[[Exchange], Awaitable[None]]


class Echo:
    """A sink that sends back what it gets."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.done = asyncio.Event()
        self.rooms = 0

    def body_received(self, data: bytes | memoryview) -> None:
        self.exchange.send(data)
        self.exchange.consumed(len(data))
        self.exchange.flush()

    def body_ended(self, trailers: Headers) -> None:
        self.exchange.end(trailers)
        self.exchange.flush()
        self.done.set()

    def room_made(self) -> None:
        self.rooms += 1


async def echo(exchange: Exchange) -> None:
    """Answers with what comes, while it comes."""
    exchange.inform(103, (("link", "a"),))
    exchange.respond(200, (("x", exchange.path),), None)
    sink = Echo(exchange)
    exchange.attach(sink)
    await sink.done.wait()


class Fake:
    """A forwarder that does what a test says."""

    name = "fake"

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self.probed: list[str] = []

    async def start(self) -> list[ServedModel]:
        return []

    async def forward(self, exchange: Exchange) -> None:
        await self._forward(exchange)

    async def probe(self, service: str) -> None:
        self.probed.append(service)

    async def watch(self, changed: Changed) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        pass


class Bench:
    """A tunnel of one service with `slots`, and a gateway at its other end."""

    def __init__(self, forward: Forward, slots: int = 2) -> None:
        self.loop = asyncio.get_running_loop()
        near, far = memory_channels()
        self.forwarder = Fake(forward)
        self.admission = Admission(slots, max_waiting=1)
        runner = ForwardRunner(self.forwarder, {"old": self.admission}, self.loop.time)
        self.tunnel = Tunnel(near, "gateway", HELLO, runner, Limits(), 1, self.loop.time)
        self.gateway = FarGateway(far)
        self.run = asyncio.create_task(self.tunnel.run())

    async def open(self) -> Bench:
        await self.gateway.let_in()
        await until(lambda: self.tunnel.is_open)
        return self

    async def close(self) -> None:
        self.gateway.session.close(CloseCode.SHUTTING_DOWN, "the test is over")
        self.gateway.wake()
        await self.run
        await self.gateway.ended()


def on_bench(test: Callable[[Bench], Awaitable[None]], forward: Forward = echo, slots: int = 2) -> None:
    async def main() -> None:
        bench = await Bench(forward, slots).open()
        await test(bench)
        await bench.close()
        assert (bench.admission.running, bench.admission.waiting) == (0, 0)

    run_bounded(main)


def raising(error: Exception) -> Forward:
    async def forward(_exchange: Exchange) -> None:
        raise error

    return forward


async def never(_exchange: Exchange) -> None:
    await asyncio.Event().wait()


def test_bodies_flow_both_ways() -> None:
    """A piece is answered before the next is sent; informational heads and trailers pass."""

    async def test(bench: Bench) -> None:
        number = bench.gateway.ask(b"one", model="old", is_whole=False)
        assert (await bench.gateway.wait(ResponseReceived)).head.status == 103
        head = (await bench.gateway.wait(ResponseReceived, 2)).head
        assert (head.status, head.metadata, head.body_bytes) == (200, (("x", "/"),), None)
        assert [name for name, _ in head.durations_us] == ["worker_queue", "upstream"]
        assert bytes((await bench.gateway.wait(BodyReceived)).data) == b"one"
        bench.gateway.session.send_body(number, b"two", end=True, trailers=(("checksum", "1"),))
        bench.gateway.wake()
        assert (await bench.gateway.wait(BodyEnded)).trailers == (("checksum", "1"),)
        assert bench.gateway.bodies[number] == b"onetwo"

    on_bench(test)


def test_what_comes_before_a_slot_is_kept() -> None:
    """A body that arrives while its exchange waits for a slot is handed over when it has one."""
    may_go = asyncio.Event()

    async def forward(exchange: Exchange) -> None:
        await may_go.wait()
        await echo(exchange)

    async def test(bench: Bench) -> None:
        numbers = [bench.gateway.ask(b"body", model="old") for _ in range(2)]
        await until(lambda: bench.admission.running + bench.admission.waiting == 2)
        may_go.set()
        for number in numbers:
            assert (await bench.gateway.answer(number))[1] == b"body"

    on_bench(test, forward, slots=1)


def test_a_probe_is_the_forwarders_own() -> None:
    """It takes a slot, and its answer says how long it took."""

    async def test(bench: Bench) -> None:
        number = bench.gateway.session.open_exchange(RequestHead("PROBE", "/", "old"), bench.gateway.now(), end=True)
        bench.gateway.wake()
        head, body = await bench.gateway.answer(number)
        assert (head.status, body, bench.forwarder.probed) == (200, b"", ["old"])

    on_bench(test)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotReady("no connection"), ExchangeCode.OVERLOADED),
        (BadInput("bad_request", "a header"), ExchangeCode.BAD_REQUEST),
        (BackendFailed("it broke"), ExchangeCode.BACKEND_FAILED),
        (RuntimeError("a bug"), ExchangeCode.INTERNAL),
    ],
)
def test_each_failure_has_its_code(error: Exception, code: ExchangeCode) -> None:
    """What was not begun may go elsewhere; a bug costs one exchange, and its text stays in the log."""

    async def test(bench: Bench) -> None:
        failure = await bench.gateway.failure(bench.gateway.ask(model="old"))
        assert failure.code is code
        assert (str(error) in failure.text) == (code is not ExchangeCode.INTERNAL)

    on_bench(test, raising(error))


def test_an_answer_that_is_left_unfinished_is_a_failure() -> None:
    """It is never taken for whole."""

    async def forward(exchange: Exchange) -> None:
        exchange.respond(200, (), None)

    async def test(bench: Bench) -> None:
        assert (await bench.gateway.failure(bench.gateway.ask(model="old"))).code is ExchangeCode.INTERNAL

    on_bench(test, forward)


def test_a_deadline_ends_with_the_head() -> None:
    """Without a head in time the exchange fails; with one, the body may take as long as it takes."""

    async def late_body(exchange: Exchange) -> None:
        exchange.respond(200, (), None)
        exchange.flush()
        await asyncio.sleep(60)
        exchange.end()
        exchange.flush()

    async def fails(bench: Bench) -> None:
        number = bench.gateway.ask(model="old", deadline_ms=500)
        assert (await bench.gateway.failure(number)).code is ExchangeCode.DEADLINE

    async def lasts(bench: Bench) -> None:
        number = bench.gateway.ask(model="old", deadline_ms=500)
        assert (await bench.gateway.answer(number))[0].status == 200

    on_bench(fails, never)
    on_bench(lasts, late_body)


def test_too_many_are_refused_and_others_unknown() -> None:
    """No slot and no room to wait is OVERLOADED; a service that is not here is UNKNOWN_MODEL."""

    async def test(bench: Bench) -> None:
        for _ in range(2):
            bench.gateway.ask(model="old")
        await until(lambda: bench.admission.waiting == 1)
        assert (await bench.gateway.failure(bench.gateway.ask(model="old"))).code is ExchangeCode.OVERLOADED
        assert (await bench.gateway.failure(bench.gateway.ask(model="new"))).code is ExchangeCode.UNKNOWN_MODEL

    on_bench(test, never, slots=1)


def test_a_cancelled_exchange_frees_its_slot() -> None:
    """And what it still says is harmless."""
    left = asyncio.Event()

    async def forward(exchange: Exchange) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            exchange.respond(200, (), None)
            exchange.send(b"late")
            exchange.end()
            exchange.consumed(1)
            exchange.flush()
            assert not exchange.is_full
            left.set()

    async def test(bench: Bench) -> None:
        number = bench.gateway.ask(model="old")
        await until(lambda: bench.admission.running == 1)
        bench.gateway.session.cancel(number, ExchangeCode.CANCELLED, "nobody waits")
        bench.gateway.wake()
        await left.wait()
        await until(lambda: bench.admission.running == 0)

    on_bench(test, forward)


def test_a_full_exchange_says_when_there_is_room() -> None:
    """A gateway that does not read keeps the exchange full; once it reads, the sink hears of the room."""
    sinks: list[Echo] = []
    full: list[bool] = []

    async def forward(exchange: Exchange) -> None:
        sinks.append(Echo(exchange))
        exchange.attach(sinks[0])
        exchange.respond(200, (), None)
        for _ in range(8):
            exchange.send(bytes(64 << 10))
        exchange.flush()
        full.append(exchange.is_full)
        while not sinks[0].rooms:
            await asyncio.sleep(0.001)
        full.append(exchange.is_full)
        exchange.end()
        exchange.flush()

    async def test(bench: Bench) -> None:
        number = bench.gateway.ask(b"", model="old", is_whole=False)
        assert len((await bench.gateway.answer(number))[1]) == 8 * (64 << 10)
        assert full == [True, False]

    on_bench(test, forward)
