"""One gateway as a worker sees it: dialling, dialling again, renewing the token, leaving."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from itertools import pairwise

import pytest

from edge_worker.admission import Admission
from edge_worker.backends.base import Answer, ServedModel
from edge_worker.backoff import SLOW_S, Backoff
from edge_worker.dialer import DialFailed
from edge_worker.exchange_runner import ExchangeRunner
from edge_worker.link import GatewayLink, Identity
from tests.support.fake_backend import FakeBackend
from tests.support.fake_clock import settle
from tests.support.far_end import FarGateway, run_bounded, until
from tests.support.memory_channel import MemoryChannel, memory_channels
from wire.channel import Channel
from wire.errors import CloseCode
from wire.events import HelloReceived, LoadReported, TokenReceived
from wire.frames import Hello, Load
from wire.limits import Limits

URL = "wss://gateway:8443/v1/tunnel"
MODELS = (ServedModel("m", "1", 2, metadata={"labels": 10}), ServedModel("bad", "", 1, failure="no such file"))


class LeastJitter(random.Random):
    """Every delay is the shortest that is allowed."""

    def uniform(self, a: float, b: float) -> float:
        return a


class Site:
    """A link under test, and the network that it dials into: `network` says what the next dials meet, in order; an
    exception, or "gateway", one that lets the worker in, or a future, one that says nothing and is reached with it."""

    def __init__(self, *network: Exception | str | asyncio.Future[None], outcome: Answer | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.network = list(network)
        self.dials: list[tuple[float, str]] = []
        self.gateways: list[FarGateway] = []
        self.hellos: list[Hello] = []
        self.near: list[MemoryChannel] = []
        self.token: str | OSError = "token-1"
        self.backend = FakeBackend(outcome)
        runner = ExchangeRunner(self.backend, {"m": Admission(2)}, self.loop.time)
        self.link = GatewayLink(
            URL,
            Identity("lab-1", 1234, "edge-worker/test", {"site": "cellar"}),
            MODELS,
            runner,
            read_token=self._read_token,
            tls=ssl.create_default_context(),
            limits=Limits(),
            max_body_bytes=1 << 20,
            backoff=Backoff(LeastJitter(0)),
            dial=self._dial,
            clock=self.loop.time,
        )
        self.run = asyncio.create_task(self.link.run())

    def _read_token(self) -> str:
        if isinstance(self.token, OSError):
            raise self.token
        return self.token

    async def _dial(self, url: str, token: str, tls: ssl.SSLContext) -> Channel:
        assert url == URL
        self.dials.append((self.loop.time(), token))
        meets = self.network.pop(0) if self.network else "gateway"
        if isinstance(meets, Exception):
            raise meets
        if isinstance(meets, asyncio.Future):
            await meets
        far, near = memory_channels()
        self.near.append(near)
        gateway = FarGateway(far)
        self.gateways.append(gateway)
        if isinstance(meets, asyncio.Future):
            gateway.start()
        else:
            asyncio.get_running_loop().create_task(self._let_in(gateway))
        return near

    async def _let_in(self, gateway: FarGateway) -> None:
        self.hellos.append(await gateway.let_in())

    async def up(self, dials: int = 1) -> FarGateway:
        """The gateway of the so-manieth tunnel, once that is open."""
        await until(lambda: len(self.gateways) >= dials and self.link.is_up)
        return self.gateways[dials - 1]

    async def leave(self) -> None:
        await self.link.drain(30.0, "leaving")
        await self.run
        for gateway in self.gateways:
            await gateway.ended()

    def intervals(self) -> list[float]:
        """Seconds between dials."""
        times = [at for at, _ in self.dials]
        return [round(later - sooner, 2) for sooner, later in pairwise(times)]


def test_the_worker_introduces_itself() -> None:
    """HELLO says who it is, what it serves and what it cannot serve, and counts the dials."""

    async def main() -> None:
        site = Site()
        first = await site.up()
        first.session.close(CloseCode.SHUTTING_DOWN, "restart")
        first.wake()
        await first.ended()
        await site.up(dials=2)
        await site.leave()
        hello = site.hellos[0]
        assert (hello.worker, hello.generation, hello.software) == ("lab-1", 1234, "edge-worker/test")
        assert [(m.name, m.slots, m.failure) for m in hello.models] == [("m", 2, ""), ("bad", 1, "no such file")]
        assert hello.labels == {"site": "cellar"}
        assert [one.dial for one in site.hellos] == [1, 2]

    run_bounded(main)


def test_a_failed_dial_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """What waiting mends is retried soon, what it does not after half a minute, and Retry-After as it says."""

    async def main() -> None:
        site = Site(
            DialFailed("no connection"), DialFailed("401", is_refusal=True), DialFailed("503", retry_after_s=7.0)
        )
        await site.up()
        await site.leave()
        assert site.intervals() == [0.0, SLOW_S, 7.0]

    run_bounded(main)
    reasons = [record.reason for record in caplog.records if record.message == "not connected"]  # type: ignore[attr-defined]
    assert reasons == ["no connection", "401", "503"]


def test_an_unknown_failure_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """An exception that nobody foresaw is logged with its traceback, and the worker dials again, slowly."""

    async def main() -> None:
        site = Site(RuntimeError("a library's bug"))
        await site.up()
        await site.leave()
        assert site.intervals() == [SLOW_S]

    run_bounded(main)
    assert [record.levelno for record in caplog.records if record.exc_info] == [logging.ERROR]


@pytest.mark.parametrize(
    ("code", "delay_s"),
    [
        (CloseCode.SHUTTING_DOWN, 0.0),
        (CloseCode.PEER_LOST, 0.0),
        (CloseCode.INTERNAL, 0.0),
        (CloseCode.UNAUTHORIZED, SLOW_S),
        (CloseCode.SUPERSEDED, SLOW_S),
        (CloseCode.IDENTITY_IN_USE, SLOW_S),
        (CloseCode.VERSION_UNSUPPORTED, SLOW_S),
    ],
)
def test_the_close_code_says_how_soon_to_return(code: CloseCode, delay_s: float) -> None:
    """After a refusal the worker waits for a person; after anything else it is back at once."""

    async def main() -> None:
        site = Site()
        gateway = await site.up()
        gateway.session.close(code, "because")
        gateway.wake()
        ended_at = site.loop.time()
        await site.up(dials=2)
        assert site.dials[1][0] - ended_at == pytest.approx(delay_s, abs=1.5)
        await site.leave()

    run_bounded(main)


def test_a_lost_gateway_is_dialled_again() -> None:
    """A gateway from which nothing is heard is given up after its own heartbeat's time, and dialled anew."""

    async def main() -> None:
        site = Site()
        await site.up()
        lost_at = site.loop.time()
        await site.near[0].cut()
        await until(lambda: len(site.dials) >= 2)
        assert 4.0 < site.dials[1][0] - lost_at < 9.0
        await site.up(dials=2)
        await site.leave()

    run_bounded(main)


def test_an_unreadable_token_is_a_refusal_until_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    """Without a token nothing is dialled; the moment in which one is there, it is."""

    async def main() -> None:
        site = Site()
        site.token = OSError("token.jwt: no such file")
        await asyncio.sleep(10.0)
        assert site.dials == []
        site.token = "token-2"
        changed_at = site.loop.time()
        site.link.token_is("token-2")
        await site.up()
        assert site.dials == [(changed_at, "token-2")]
        await site.leave()

    run_bounded(main)
    assert "the token cannot be read: token.jwt: no such file" in caplog.records[0].reason  # type: ignore[attr-defined]


def test_a_refused_token_is_not_dialled_with_again_and_again() -> None:
    """The same token that was refused does not cut the waiting short; another one does."""

    async def main() -> None:
        site = Site(DialFailed("401", is_refusal=True))
        await asyncio.sleep(1.0)
        for _ in range(5):
            site.link.token_is("token-1")
            await asyncio.sleep(1.0)
        assert len(site.dials) == 1
        site.token = "token-2"
        site.link.token_is("token-2")
        await site.up()
        assert [token for _, token in site.dials] == ["token-1", "token-2"]
        await site.leave()

    run_bounded(main)


def test_a_newer_token_renews_the_tunnel_once() -> None:
    """An open tunnel is offered a token that its gateway has not seen, once, and lives on."""

    async def main() -> None:
        site = Site()
        gateway = await site.up()
        for token in ("token-1", "token-2", "token-2"):
            site.link.token_is(token)
        await gateway.wait(TokenReceived)
        await settle()
        assert [event.token for event in gateway.all(TokenReceived)] == ["token-2"]
        assert len(site.dials) == 1
        await site.leave()

    run_bounded(main)


def test_the_load_reaches_an_open_tunnel_and_each_new_one() -> None:
    """What is reported while nothing is connected is dropped; a new tunnel is told a load that has not changed."""

    async def main() -> None:
        site = Site()
        site.link.report_load(Load(9, 9))
        first = await site.up()
        site.link.report_load(Load(1, 0))
        await first.wait(LoadReported, load=Load(1, 0))
        first.session.close(CloseCode.SHUTTING_DOWN, "restart")
        first.wake()
        await first.ended()
        second = await site.up(dials=2)
        site.link.report_load(Load(1, 0))
        await second.wait(LoadReported, load=Load(1, 0))
        await site.leave()
        assert len(first.all(LoadReported)) == len(second.all(LoadReported)) == 1

    run_bounded(main)


def test_a_second_tunnel_drains_as_well_as_the_first() -> None:
    """Work that is computed on a tunnel dialled again is finished before the worker leaves."""

    async def main() -> None:
        site = Site()
        first = await site.up()
        first.session.close(CloseCode.SHUTTING_DOWN, "restart")
        first.wake()
        await first.ended()
        second = await site.up(dials=2)
        exchange = second.ask()
        await until(lambda: site.backend.waiting)
        leaving = asyncio.create_task(site.leave())
        await asyncio.sleep(3.0)
        site.backend.waiting[0].set_result(Answer(b"late but whole"))
        assert (await second.answer(exchange))[1] == b"late but whole"
        await leaving

    run_bounded(main)


def test_work_of_an_ended_tunnel_does_not_reach_the_next() -> None:
    """An exchange that was lost with its tunnel is dropped, though the next tunnel counts from 1 again."""

    async def main() -> None:
        site = Site()
        first = await site.up()
        assert first.ask(b"old") == 1
        await until(lambda: site.backend.waiting)
        await site.near[0].break_off("cut")
        await first.ended()
        second = await site.up(dials=2)
        assert second.ask(b"new") == 1
        await until(lambda: len(site.backend.waiting) >= 2)
        assert site.backend.waiting[0].cancelled()
        site.backend.waiting[1].set_result(Answer(b"new answer"))
        assert (await second.answer(1))[1] == b"new answer"
        await site.leave()

    run_bounded(main)


def test_leaving_while_dialling_ends_the_dial() -> None:
    """A worker that is told to leave does not wait for a gateway that does not answer."""

    async def main() -> None:
        site = Site(asyncio.get_running_loop().create_future())
        await asyncio.sleep(1.0)
        began = site.loop.time()
        await site.leave()
        assert site.loop.time() == began

    run_bounded(main)


def test_leaving_in_the_moment_of_connecting_closes_the_connection() -> None:
    """A connection that comes up while the worker is leaving is closed, not used."""

    async def main() -> None:
        connected = asyncio.get_running_loop().create_future()
        site = Site(connected)
        await asyncio.sleep(1.0)
        connected.set_result(None)
        await site.leave()
        assert site.near[0].closed_with == (CloseCode.SHUTTING_DOWN.websocket, "the worker is shutting down")
        assert site.gateways[0].all(HelloReceived) == []

    run_bounded(main)


def test_leaving_while_waiting_to_dial_is_at_once() -> None:
    """A worker in the middle of its back-off leaves without waiting for its end."""

    async def main() -> None:
        site = Site(DialFailed("no", is_refusal=True))
        await asyncio.sleep(1.0)
        began = site.loop.time()
        await site.leave()
        assert site.loop.time() == began
        assert len(site.dials) == 1

    run_bounded(main)
