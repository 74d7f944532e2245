"""Who is let in, under which name, for how long, and what dispatch hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.auth import Principal, Reason, TokenRefused
from gateway.dispatch.model import Link, LoadReport, ModelOffer
from gateway.errors import BadRequest, Draining, Forbidden, GatewayError, NoWorker, Unauthenticated
from gateway.tunnel.ports import TunnelSettings
from gateway.tunnel.server import TunnelServer
from tests.support.fake_clock import settle
from tests.support.far_end import FarWorker, run_bounded, until
from tests.support.memory_channel import memory_channels
from tests.support.session_pair import HELLO
from wire import SUBPROTOCOL, TUNNEL_PATH
from wire.codec import decode, encode
from wire.errors import CloseCode
from wire.events import PeerDraining, SessionEnded, TokenRenewed, WelcomeReceived
from wire.frames import GoAway, Hello, Load, Model, Welcome
from wire.limits import Limits

DAY_S = 86_400.0


class Verifier:
    """Tokens are keys of `bearers`; what is in `revoked` no longer holds."""

    def __init__(self) -> None:
        self.bearers: dict[str, Principal] = {}
        self.revoked: set[str] = set()
        self.on_change: Callable[[], None] = lambda: None

    def authenticate(self, authorization_header: str | None) -> Principal:
        return self.verify((authorization_header or "").removeprefix("Bearer "))

    def verify(self, token: str) -> Principal:
        if token not in self.bearers:
            raise TokenRefused(Reason.MALFORMED, "no such token")
        self.recheck(self.bearers[token])
        return self.bearers[token]

    def recheck(self, principal: Principal) -> None:
        if principal.token_id in self.revoked:
            raise TokenRefused(Reason.REVOKED, "the token was revoked")

    def subscribe(self, on_change: Callable[[], None]) -> Callable[[], None]:
        self.on_change = on_change
        return lambda: None


class Workforce:
    """Remembers what dispatch is told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.links: list[Link] = []
        self.offers: list[Sequence[ModelOffer]] = []

    def join(self, link: Link, offers: Sequence[ModelOffer]) -> None:
        self.told.append(("join", link.worker))
        self.links.append(link)
        self.offers.append(offers)

    def leave(self, link: Link, reason: str) -> None:
        self.told.append(("leave", link.worker))
        self.links.remove(link)

    def update(self, link: Link, offers: Sequence[ModelOffer]) -> None:
        self.told.append(("update", link.worker))
        self.offers.append(offers)

    def load(self, link: Link, report: LoadReport) -> None:
        self.told.append(("load", link.worker))

    def drain_worker(self, link: Link) -> None:
        self.told.append(("drain", link.worker))


class Observer:
    def __init__(self) -> None:
        self.opened = 0
        self.ended: list[CloseCode] = []
        self.refused: list[Reason] = []

    def token_refused(self, reason: Reason) -> None:
        self.refused.append(reason)

    def tunnel_opened(self) -> None:
        self.opened += 1

    def tunnel_ended(self, code: CloseCode) -> None:
        self.ended.append(code)


class Site:
    """A tunnel server, and the workers that come to it over memory channels."""

    def __init__(self, **settings: object) -> None:
        self.loop = asyncio.get_running_loop()
        self.verifier, self.workforce, self.observer = Verifier(), Workforce(), Observer()
        self.server = TunnelServer(
            self.workforce,
            self.verifier,
            self.observer,
            TunnelSettings("gateway-1", Limits(), **settings),  # type: ignore[arg-type]
            clock=self.loop.time,
            unix_clock=self.loop.time,
        )
        self.workers: list[FarWorker] = []
        self.tasks: list[asyncio.Task[None]] = []

    def principal(self, scope: str = "worker:lab-1", *, lives_s: float = DAY_S, jti: str = "t1") -> Principal:
        now = self.loop.time()
        return Principal("subject-1", frozenset(scope.split()), jti, "key-1", now, now + lives_s)

    def dial(self, hello: Hello | None = HELLO, principal: Principal | None = None) -> FarWorker:
        """A worker that has passed the route; without a `hello` it says nothing."""
        near, far = memory_channels()
        worker = FarWorker(far)
        admitted = self.server.admit(near, principal or self.principal(), "192.0.2.7")
        self.tasks.append(asyncio.create_task(admitted))
        self.workers.append(worker)
        if hello is None:
            worker.start()
        else:
            worker.introduce(hello)
        return worker

    async def joined(self, hello: Hello = HELLO, principal: Principal | None = None) -> FarWorker:
        worker = self.dial(hello, principal)
        await worker.wait(WelcomeReceived)
        return worker

    async def close(self) -> None:
        await self.server.close(3.0)
        await asyncio.gather(*self.tasks)
        for worker in self.workers:
            await worker.ended()


def on_site(test: Callable[[Site], Awaitable[None]], **settings: object) -> None:
    """Runs `test`, says goodbye to every worker, and finds nothing left behind."""

    async def main() -> None:
        site = Site(**settings)
        await test(site)
        await site.close()
        assert site.workforce.links == []
        assert site.server._admissions == {}
        assert site.server._holders == {}

    run_bounded(main)


async def refusal(worker: FarWorker) -> SessionEnded:
    ended = await worker.wait(SessionEnded)
    assert worker.all(WelcomeReceived) == []
    return ended


def test_a_worker_joins_and_leaves() -> None:
    """After its HELLO a worker is welcomed, known to dispatch with its models, described to operators, and counted."""

    async def test(site: Site) -> None:
        models = (Model("digits", "1", 2), Model("bad", "", 1, "no such file"))
        worker = await site.joined(replace(HELLO, models=models, labels={"site": "cellar"}))
        welcome = worker.all(WelcomeReceived)[0].welcome
        assert welcome.gateway == "gateway-1"
        assert welcome.token_expires_in_ms == pytest.approx(DAY_S * 1000, abs=1000)
        assert [(offer.name, offer.failure) for offer in site.workforce.offers[0]] == [
            ("digits", ""),
            ("bad", "no such file"),
        ]
        about = site.workforce.links[0].about
        assert (about["address"], about["software"], about["labels"]) == ("192.0.2.7", "test", {"site": "cellar"})
        assert about["subject"] == "subject-1"
        worker.session.close(CloseCode.SHUTTING_DOWN, "bye")
        worker.wake()
        await until(lambda: not site.workforce.links)
        assert site.workforce.told == [("join", "lab-1"), ("leave", "lab-1")]
        assert (site.observer.opened, site.observer.ended) == (1, [CloseCode.SHUTTING_DOWN])

    on_site(test)


def test_what_a_worker_says_reaches_dispatch() -> None:
    """New models, load and the wish to leave are passed on."""

    async def test(site: Site) -> None:
        worker = await site.joined()
        worker.session.update_models([Model("digits", "2", 4)])
        worker.session.report_load(Load(1, 0))
        worker.session.drain(30, "leaving")
        worker.wake()
        await until(lambda: len(site.workforce.told) == 4)
        assert [kind for kind, _ in site.workforce.told] == ["join", "update", "load", "drain"]
        assert site.workforce.offers[-1] == (ModelOffer("digits", "2", 4),)

    on_site(test)


@pytest.mark.parametrize("newer", [replace(HELLO, generation=2), replace(HELLO, dial=2)])
def test_a_newer_session_takes_over_at_once(newer: Hello) -> None:
    """A restarted process, and a newer dial of the same one, get the name; the old tunnel is told why."""

    async def test(site: Site) -> None:
        old = await site.joined()
        began = site.loop.time()
        await site.joined(newer)
        assert site.loop.time() - began < 1.0
        ended = await old.wait(SessionEnded)
        assert ended.code is CloseCode.SUPERSEDED
        assert site.workforce.told == [("join", "lab-1"), ("leave", "lab-1"), ("join", "lab-1")]

    on_site(test)


def test_a_stopped_worker_is_taken_over_from() -> None:
    """The old session need not answer: a worker that was cut off gets its place back while the old tunnel hangs."""

    async def test(site: Site) -> None:
        old = await site.joined()
        await old.channel.cut()
        await old.channel.peer.cut()
        began = site.loop.time()
        await site.joined(replace(HELLO, dial=2))
        assert site.loop.time() - began < 1.0
        await old.channel.break_off("")

    on_site(test)


@pytest.mark.parametrize("other", [HELLO, replace(HELLO, generation=0, dial=9)])
def test_an_older_session_is_refused(other: Hello) -> None:
    """Two workers with one name: the one that was started earlier is told so, and the holder goes on."""

    async def test(site: Site) -> None:
        holder = await site.joined()
        ended = await refusal(site.dial(other))
        assert ended.code is CloseCode.IDENTITY_IN_USE
        assert "give each worker its own" in ended.text
        assert holder.all(SessionEnded) == []
        assert site.workforce.told == [("join", "lab-1")]

    on_site(test)


@pytest.mark.parametrize(("scope", "is_let_in"), [("worker:lab-1", True), ("worker:*", True), ("worker:lab-2", False)])
def test_a_name_needs_its_scope(scope: str, is_let_in: bool) -> None:
    """A token opens the names in its scopes and no other."""

    async def test(site: Site) -> None:
        worker = site.dial(principal=site.principal(scope))
        if is_let_in:
            await worker.wait(WelcomeReceived)
        else:
            ended = await refusal(worker)
            assert ended.code is CloseCode.UNAUTHORIZED
            assert "worker:lab-1" in ended.text
            assert site.observer.opened == 0

    on_site(test)


def test_a_certificate_must_name_the_worker() -> None:
    """With mutual TLS a token alone is not enough."""

    async def test(site: Site) -> None:
        assert (await refusal(site.dial())).code is CloseCode.UNAUTHORIZED

    on_site(test, verifies_workers=True)


def test_a_token_revoked_between_upgrade_and_hello_is_refused() -> None:
    """The token is looked at again when the worker says who it is."""

    async def test(site: Site) -> None:
        worker = site.dial(None)
        site.verifier.revoked.add("t1")
        worker.session.hello(HELLO)
        worker.wake()
        assert (await refusal(worker)).code is CloseCode.UNAUTHORIZED

    on_site(test)


def test_a_revocation_ends_the_tunnel_and_no_other() -> None:
    """When keys or revocations change every tunnel is looked at anew."""

    async def test(site: Site) -> None:
        revoked = await site.joined()
        other = await site.joined(replace(HELLO, worker="lab-2"), principal=site.principal("worker:lab-2", jti="t2"))
        site.verifier.revoked.add("t1")
        site.verifier.on_change()
        ended = await revoked.wait(SessionEnded)
        assert (ended.code, ended.text) == (CloseCode.UNAUTHORIZED, "the token was revoked")
        assert other.all(SessionEnded) == []

    on_site(test)


def test_an_expired_token_ends_the_tunnel_after_a_grace() -> None:
    """Without a renewal the tunnel ends when the token has been over for the grace time, not before."""

    async def test(site: Site) -> None:
        worker = await site.joined(principal=site.principal(lives_s=600.0))
        began = site.loop.time()
        ended = await worker.wait(SessionEnded)
        assert ended.code is CloseCode.UNAUTHORIZED
        assert site.loop.time() - began == pytest.approx(630.0, abs=1.0)

    on_site(test, token_grace_s=30.0)


def test_a_renewed_token_carries_the_tunnel_on() -> None:
    """A newer token that verifies is confirmed with its end, and the tunnel lives to that."""

    async def test(site: Site) -> None:
        worker = await site.joined(principal=site.principal(lives_s=600.0))
        began = site.loop.time()
        site.verifier.bearers["newer"] = site.principal(lives_s=1800.0, jti="t2")
        worker.session.offer_token("newer")
        worker.wake()
        assert (await worker.wait(TokenRenewed)).expires_in_s == pytest.approx(1800, abs=1)
        await worker.wait(SessionEnded)
        assert site.loop.time() - began == pytest.approx(1830.0, abs=1.0)

    on_site(test, token_grace_s=30.0)


@pytest.mark.parametrize("token", ["forged", "for-another"])
def test_a_renewal_that_is_refused_changes_nothing(token: str) -> None:
    """A token that does not verify or names another worker is not confirmed; the one in force goes on to its end."""

    async def test(site: Site) -> None:
        worker = await site.joined(principal=site.principal(lives_s=600.0))
        began = site.loop.time()
        site.verifier.bearers["for-another"] = site.principal("worker:lab-2", lives_s=1800.0)
        worker.session.offer_token(token)
        worker.wake()
        await worker.wait(SessionEnded)
        assert worker.all(TokenRenewed) == []
        assert site.loop.time() - began == pytest.approx(630.0, abs=1.0)

    on_site(test, token_grace_s=30.0)


def test_a_token_later_than_its_grace_is_refused_cleanly() -> None:
    """Where clocks may differ by more than the grace, a token can be over at once: the tunnel ends by its code."""

    async def test(site: Site) -> None:
        worker = site.dial(principal=site.principal(lives_s=-60.0))
        assert (await worker.wait(SessionEnded)).code is CloseCode.UNAUTHORIZED

    on_site(test, token_grace_s=30.0)


def test_a_token_without_a_near_end_is_looked_at_daily() -> None:
    """An end beyond what timers can promise neither fails nor ends the tunnel."""

    async def test(site: Site) -> None:
        worker = await site.joined(principal=site.principal(lives_s=2.0**53))
        (admission,) = site.server._admissions.values()
        assert admission.expiry is not None
        assert admission.expiry.when() - site.loop.time() == pytest.approx(DAY_S, abs=1.0)
        assert worker.all(SessionEnded) == []

    on_site(test)


def test_workers_are_told_of_a_drain_and_nobody_else_is_let_in() -> None:
    """A gateway that leaves says so on every tunnel; who introduces itself now is sent away."""

    async def test(site: Site) -> None:
        worker, late = await site.joined(), site.dial(None, site.principal("worker:lab-2"))
        await settle()
        site.server.drain(30.0)
        assert (await worker.wait(PeerDraining)).grace_s == 30.0
        late.session.hello(replace(HELLO, worker="lab-2"))
        late.wake()
        assert (await refusal(late)).code is CloseCode.SHUTTING_DOWN
        assert worker.all(SessionEnded) == []

    on_site(test)


def test_closing_says_goodbye_and_waits() -> None:
    """Every worker hears why, and `close` returns when they are gone."""

    async def main() -> None:
        site = Site()
        workers = [await site.joined(), site.dial(None)]
        await settle()
        await site.close()
        for worker in workers:
            assert worker.all(SessionEnded)[0].code is CloseCode.SHUTTING_DOWN

    run_bounded(main)


def test_a_worker_that_says_nothing_is_let_go() -> None:
    """A connection without a HELLO ends by itself, is counted, and dispatch hears nothing of it."""

    async def test(site: Site) -> None:
        assert (await refusal(site.dial(None))).code is CloseCode.PEER_LOST
        assert site.workforce.told == []
        assert site.observer.ended == [CloseCode.PEER_LOST]

    on_site(test)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\xff\x00garbage", CloseCode.PROTOCOL_ERROR),
        (b"", CloseCode.PROTOCOL_ERROR),
        (encode(replace(HELLO, versions=(99,))), CloseCode.VERSION_UNSUPPORTED),
    ],
)
def test_a_stranger_is_told_what_it_did(message: bytes, code: CloseCode) -> None:
    """Garbage and another protocol version get their own code and close no other tunnel."""

    async def test(site: Site) -> None:
        worker = await site.joined()
        near, far = memory_channels()
        site.tasks.append(asyncio.create_task(site.server.admit(near, site.principal(), "192.0.2.8")))
        far.send(message)
        goodbye = decode(await far.receive())
        assert isinstance(goodbye, GoAway)
        assert goodbye.code == code
        await until(lambda: site.observer.ended == [code])
        assert worker.all(SessionEnded) == []

    on_site(test)


def test_joining_and_leaving_are_one_line_each() -> None:
    """The log says who came, from where, with what, and why it left; never a token."""

    async def main() -> None:
        with structlog.testing.capture_logs() as lines:
            site = Site()
            await site.joined()
            await site.close()
        assert [line["event"] for line in lines] == ["worker joined", "worker left"]
        assert (lines[0]["worker"], lines[0]["address"], lines[0]["models"]) == ("lab-1", "192.0.2.7", ["digits"])
        assert (lines[1]["code"], lines[1]["by_peer"]) == ("shutting_down", False)

    run_bounded(main)


# --- the route --------------------------------------------------------------------------------------------------------


class Route:
    """The server behind a real aiohttp route, with the token `good` for worker lab-1 and `client` for none."""

    def __init__(self, **settings: object) -> None:
        self.site = Site(**settings)
        self.site.verifier.bearers["good"] = self.site.principal()
        self.site.verifier.bearers["client"] = self.site.principal("infer:*")
        self.errors: list[GatewayError] = []
        app = web.Application()
        app.router.add_get(TUNNEL_PATH, self._handle)
        self.client: TestClient[web.Request, web.Application] = TestClient(TestServer(app))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            response = await self.site.server.handle(request, "192.0.2.7")
        except GatewayError as error:
            self.errors.append(error)
            return web.Response(status=400)
        request.protocol.transport = None  # handed over, as gateway/http does it: aiohttp is not to close it now
        return response

    async def __aenter__(self) -> Route:
        await self.client.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.site.server.close(3.0)
        await self.client.close()

    async def refused(self, token: str = "", **headers: str) -> GatewayError:
        upgrade = {
            "Authorization": f"Bearer {token}",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Protocol": SUBPROTOCOL,
        }
        response = await self.client.get(TUNNEL_PATH, headers=upgrade | headers)
        assert response.status == 400
        return self.errors[-1]


async def test_the_route_carries_a_tunnel() -> None:
    """HELLO goes in and WELCOME comes out over a real WebSocket with the named subprotocol."""
    async with Route() as route:
        headers = {"Authorization": "Bearer good"}
        async with route.client.ws_connect(TUNNEL_PATH, headers=headers, protocols=(SUBPROTOCOL,)) as websocket:
            assert websocket.protocol == SUBPROTOCOL
            await websocket.send_bytes(encode(HELLO))
            assert isinstance(decode(await websocket.receive_bytes()), Welcome)
            await route.site.server.close(0.0)
            while not isinstance(decode(await websocket.receive_bytes()), GoAway):
                pass
            closed = await websocket.receive()
            assert closed.data == CloseCode.SHUTTING_DOWN.websocket
            assert closed.extra == "the gateway shut down"


async def test_a_bug_in_a_tunnel_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a tunnel: what breaks one leaves a traceback in the log, and its place is free again."""

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    async with Route(max_workers=1) as route:
        monkeypatch.setattr(route.site.server, "admit", broken)
        headers = {"Authorization": "Bearer good"}
        with structlog.testing.capture_logs() as lines:
            for _ in range(2):
                async with route.client.ws_connect(TUNNEL_PATH, headers=headers, protocols=(SUBPROTOCOL,)):
                    pass
        assert [line["event"] for line in lines] == ["tunnel_failed"] * 2


async def test_a_text_message_is_none_of_ours() -> None:
    """A WebSocket client that speaks text is told so by a protocol error."""
    async with Route() as route:
        headers = {"Authorization": "Bearer good"}
        async with route.client.ws_connect(TUNNEL_PATH, headers=headers, protocols=(SUBPROTOCOL,)) as websocket:
            await websocket.send_str("hello?")
            goodbye = decode(await websocket.receive_bytes())
            assert isinstance(goodbye, GoAway)
            assert goodbye.code == CloseCode.PROTOCOL_ERROR


async def test_the_route_refuses_before_the_upgrade() -> None:
    """No token, one without a worker scope, another subprotocol, no WebSocket at all: each its own error."""
    async with Route() as route:
        assert isinstance(await route.refused("forged"), Unauthenticated)
        assert route.site.observer.refused == [Reason.MALFORMED]
        assert isinstance(await route.refused("client"), Forbidden)
        assert isinstance(await route.refused("good", **{"Sec-WebSocket-Protocol": "chat"}), BadRequest)
        assert isinstance(await route.refused("good", Upgrade="h2c"), BadRequest)
        assert route.site.observer.ended == []


async def test_a_full_or_leaving_gateway_says_when_to_return() -> None:
    """Over the bound of workers, and while it drains, the gateway refuses with a Retry-After."""
    async with Route(max_workers=1) as route:
        headers = {"Authorization": "Bearer good"}
        async with route.client.ws_connect(TUNNEL_PATH, headers=headers, protocols=(SUBPROTOCOL,)):
            full = await route.refused("good")
            assert isinstance(full, NoWorker)
            assert full.retry_after_s
        route.site.server.drain(30.0)
        leaving = await route.refused("good")
        assert isinstance(leaving, Draining)
        assert leaving.retry_after_s
