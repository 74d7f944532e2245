"""Who is let in: the tunnel's route, the workers' identities, their tokens, and what their coming and going means.

A worker is its name, held by one tunnel at a time. A newer session of the same name takes over at once; an older one is
refused. Dispatch hears of workers only from here.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from aiohttp import web

from gateway.auth import Principal, TokenRefused
from gateway.dispatch.model import LoadReport, ModelOffer
from gateway.errors import BadRequest, Draining, Forbidden, GatewayError, NoWorker
from gateway.tls import PeerCertificate, names_in, require_worker_certificate
from gateway.tunnel.channel import AcceptedChannel, new_websocket
from gateway.tunnel.link import WorkerLink, offers_of
from gateway.tunnel.ports import TokenVerifier, TunnelObserver, TunnelSettings, Workforce
from wire import SUBPROTOCOL
from wire.channel import Channel
from wire.errors import CloseCode
from wire.events import SessionEnded
from wire.frames import Hello

FULL_RETRY_S = 10.0
"""Retry-After for a worker that finds no place."""

MAX_TIMER_S = 86_400.0
"""A token's end is looked at again at least once a day: event loops do not promise timers further away."""

MAX_TOLD_S = 100 * 365 * 86_400.0
"""A token may end far beyond what a frame can say in milliseconds."""

MAX_LABELS = 32
"""Labels of a worker that operators are shown."""


@dataclass(slots=True)
class _Admission:
    """Who a link is let in as."""

    principal: Principal
    certificate: PeerCertificate | None
    address: str
    expiry: asyncio.TimerHandle | None = None


class TunnelServer:
    """Accepts workers."""

    def __init__(
        self,
        workforce: Workforce,
        verifier: TokenVerifier,
        observer: TunnelObserver,
        settings: TunnelSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        unix_clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` is the one that dispatch has; `unix_clock` is what tokens' ends are told in."""
        self._workforce = workforce
        self._verifier = verifier
        self._observer = observer
        self._settings = settings
        self._clock = clock
        self._unix_clock = unix_clock
        self._admissions: dict[WorkerLink, _Admission] = {}
        self._holders: dict[str, WorkerLink] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._upgrading = 0
        self._is_draining = False
        self._log = structlog.get_logger("gateway.tunnel")
        verifier.subscribe(self._recheck_all)

    # --- the route ----------------------------------------------------------------------------------------------------

    async def handle(self, request: web.Request, address: str) -> web.StreamResponse:
        """GET /v1/tunnel: upgrades, and serves the tunnel in a task of its own. Raises GatewayError before that."""
        try:
            principal = self._verifier.authenticate(request.headers.get("Authorization"))
        except TokenRefused as error:
            self._observer.token_refused(error.reason)
            raise
        self._require_welcome(principal)
        websocket = new_websocket(SUBPROTOCOL)
        if websocket.can_prepare(request).protocol != SUBPROTOCOL:
            raise BadRequest(f"a worker upgrades to WebSocket here, with the subprotocol {SUBPROTOCOL}")
        self._upgrading += 1  # no await since its place was found
        try:
            writer = await websocket.prepare(request)
        finally:
            self._upgrading -= 1
        assert request.transport is not None
        certificate = request.transport.get_extra_info("peercert")
        channel = AcceptedChannel(websocket, writer, request.transport)
        task = asyncio.create_task(self._serve(channel, principal, address, certificate))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return websocket

    async def _serve(
        self, channel: Channel, principal: Principal, address: str, certificate: PeerCertificate | None
    ) -> None:
        try:
            await self.admit(channel, principal, address, certificate)
        except Exception:
            self._log.exception("tunnel_failed", address=address)
            await channel.close(CloseCode.INTERNAL.websocket, "the gateway failed")

    async def admit(
        self, channel: Channel, principal: Principal, address: str, certificate: PeerCertificate | None = None
    ) -> None:
        """Serves one connection whose token verified, until it ends."""
        link = WorkerLink(channel, self._settings.limits, self, self._clock)
        self._admissions[link] = _Admission(principal, certificate, address)
        await link.run()

    def _require_welcome(self, principal: Principal) -> None:
        if not any(scope.startswith("worker:") for scope in principal.scopes):
            raise Forbidden("this token has no worker scope; issue one with --scope worker:NAME")
        if self._is_draining:
            raise Draining("this gateway is leaving", retry_after_s=FULL_RETRY_S)
        if len(self._tasks) + self._upgrading >= self._settings.max_workers:
            raise NoWorker(
                f"{self._settings.max_workers} workers are connected already (limits.max_workers)",
                retry_after_s=FULL_RETRY_S,
            )

    # --- what links tell ----------------------------------------------------------------------------------------------

    def introduced(self, link: WorkerLink, hello: Hello) -> None:
        """A HELLO: lets the worker in under its name, or says why not."""
        admission = self._admissions[link]
        try:
            self._verifier.recheck(admission.principal)  # it may have been revoked since the upgrade
            admission.principal.require_worker(hello.worker)
            if self._settings.verifies_workers:
                require_worker_certificate(admission.certificate, hello.worker)
        except GatewayError as error:
            link.refuse(CloseCode.UNAUTHORIZED, error.detail)
            return
        if self._is_draining:
            link.refuse(CloseCode.SHUTTING_DOWN, "this gateway is leaving")
            return
        if not self._claim(link, hello):
            return
        self._watch_expiry(link, admission)
        session = uuid.uuid4().hex
        about = {"session": session, **self._describe(admission, hello)}
        link.welcome(session, self._settings.gateway, self._left_s(admission.principal), about)
        self._observer.tunnel_opened()
        self._log.info(
            "worker joined",
            worker=hello.worker,
            address=admission.address,
            software=hello.software,
            models=[model.name for model in hello.models if not model.failure],
            failed_models={model.name: model.failure for model in hello.models if model.failure},
        )
        self._workforce.join(link, offers_of(hello.models))

    def changed(self, link: WorkerLink, offers: Sequence[ModelOffer]) -> None:
        """The worker's models from now on."""
        self._workforce.update(link, offers)

    def reported(self, link: WorkerLink, report: LoadReport) -> None:
        """The worker's own view of its load."""
        self._workforce.load(link, report)

    def draining(self, link: WorkerLink, text: str) -> None:
        """The worker finishes what it has and wants no more."""
        self._log.info("worker draining", worker=link.worker, reason=text)
        self._workforce.drain_worker(link)

    def offered_token(self, link: WorkerLink, token: str) -> None:
        """Takes the newer token; one that is refused changes nothing, and the one in force goes on to its end."""
        admission = self._admissions[link]
        try:
            principal = self._verifier.verify(token)
            principal.require_worker(link.worker)
        except GatewayError as error:
            if isinstance(error, TokenRefused):
                self._observer.token_refused(error.reason)
            self._log.warning("worker token refused", worker=link.worker, reason=error.detail)
            return
        admission.principal = principal
        self._watch_expiry(link, admission)
        link.accept_token(self._left_s(principal))

    def ended(self, link: WorkerLink, event: SessionEnded) -> None:
        """The tunnel is over, however."""
        admission = self._admissions.pop(link)
        if admission.expiry is not None:
            admission.expiry.cancel()
        self._observer.tunnel_ended(event.code)
        log = self._log.bind(address=admission.address, code=event.code.name.lower(), reason=event.text)
        if not link.worker:
            log.warning("worker refused", name=link.hello.worker if link.hello else "")
            return
        if self._holders.get(link.worker) is link:
            del self._holders[link.worker]
        log.info("worker left", worker=link.worker, by_peer=event.by_peer)
        self._workforce.leave(link, event.text)

    # --- identity and tokens ------------------------------------------------------------------------------------------

    def _claim(self, link: WorkerLink, hello: Hello) -> bool:
        """Gives the name to the newest session of it (docs/reference/wire.md, Identity)."""
        holder = self._holders.get(hello.worker)
        if holder is not None:
            assert holder.hello is not None
            if (hello.generation, hello.dial) <= (holder.hello.generation, holder.hello.dial):
                text = f"the name {hello.worker} is held by a worker that was started later; give each worker its own"
                link.refuse(CloseCode.IDENTITY_IN_USE, text)
                return False
            holder.close(f"a newer session of {hello.worker} took over from {self._admissions[link].address}")
        self._holders[hello.worker] = link
        return True

    def _watch_expiry(self, link: WorkerLink, admission: _Admission) -> None:
        """Sets the timer for the token's end, never ends the tunnel itself: its caller has more to say on it."""
        if admission.expiry is not None:
            admission.expiry.cancel()
        left_s = self._until_late_s(admission.principal)
        admission.expiry = asyncio.get_running_loop().call_later(
            min(max(0.0, left_s), MAX_TIMER_S), self._at_expiry, link, admission
        )

    def _at_expiry(self, link: WorkerLink, admission: _Admission) -> None:
        if self._until_late_s(admission.principal) > 0:
            self._watch_expiry(link, admission)
        else:
            link.refuse(CloseCode.UNAUTHORIZED, "the token expired and was not renewed")

    def _until_late_s(self, principal: Principal) -> float:
        return principal.expires_at + self._settings.token_grace_s - self._unix_clock()

    def _left_s(self, principal: Principal) -> float:
        """What a worker is told; 0 would mean for ever, and more than the frame's milliseconds can say is cut."""
        return min(max(0.001, principal.expires_at - self._unix_clock()), MAX_TOLD_S)

    def _recheck_all(self) -> None:
        """After keys or revocations changed: whoever no longer holds is out."""
        for link, admission in list(self._admissions.items()):
            try:
                self._verifier.recheck(admission.principal)
            except GatewayError as error:
                link.refuse(CloseCode.UNAUTHORIZED, error.detail)

    def _describe(self, admission: _Admission, hello: Hello) -> dict[str, object]:
        return {
            "address": admission.address,
            "software": hello.software,
            "labels": dict(list(hello.labels.items())[:MAX_LABELS]),
            "subject": admission.principal.subject,
            "certificate_names": sorted(names_in(admission.certificate)),
            "connected_at": int(self._unix_clock()),
        }

    # --- leaving ------------------------------------------------------------------------------------------------------

    def drain(self, grace_s: float) -> None:
        """Lets nobody in any more and tells every worker that this gateway is leaving."""
        self._is_draining = True
        for link in list(self._admissions):
            link.drain(grace_s, "the gateway is shutting down")

    async def close(self, timeout_s: float) -> None:
        """Says goodbye to every worker and waits until they are gone, `timeout_s` at most."""
        for link in list(self._admissions):
            link.refuse(CloseCode.SHUTTING_DOWN, "the gateway shut down")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
