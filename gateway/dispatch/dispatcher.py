"""The waiting shell around the core: one exchange is one `async with`, and every claim is given back in its `finally`.

    dispatcher = Dispatcher(settings, clock=LoopClock(), observer=NullObserver())
    with dispatcher.open_request(): ...                     drain waits for it and takes its jobs; raises Draining
    async with dispatcher.exchange(job) as reply: ...       raises GatewayError
    dispatcher.join(link, offers)                           a worker is here; one of the same name is superseded
    dispatcher.leave(link, reason)                          harmless for a link that is not (or no longer) here
    dispatcher.update(link, offers)                         all of the worker's models, anew
    dispatcher.load(link, report)
    dispatcher.drain_worker(link)                           it asked for no more jobs
    await dispatcher.drain(grace_s) -> bool                 no new request; True once nothing is in flight
    dispatcher.workers_view() -> list[dict]                 JSON values, for operators
    dispatcher.is_draining, in_flight, queued(model), models
    dispatcher.offer(model, worker), versions(model)        what workers announce of a model
    await dispatcher.run()                                  probes workers until cancelled; nobody is ready without it

It decides nothing: every choice is made in `core.advance`. It knows no HTTP and no frame, only `model.Link`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager

from gateway.dispatch.clock import Clock, LoopClock, Timer
from gateway.dispatch.core import Core
from gateway.dispatch.effects import Assigned, CloseLink, Effect, Expired, ProbeDue, Rejected
from gateway.dispatch.exchange import Exchange
from gateway.dispatch.model import ExchangeError, Job, Link, LoadReport, ModelOffer
from gateway.dispatch.observer import NullObserver, Observer
from gateway.dispatch.queue import Ticket
from gateway.dispatch.replica import Replica
from gateway.dispatch.scope import Scope
from gateway.dispatch.settings import DispatchSettings
from gateway.dispatch.view import workers_view
from gateway.errors import Draining

log = logging.getLogger(__name__)


class Dispatcher:
    """All methods belong to one event loop, and none but `exchange`, `drain` and `run` waits."""

    def __init__(
        self, settings: DispatchSettings, *, clock: Clock | None = None, observer: Observer | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock or LoopClock()
        self._core = Core(settings, observer or NullObserver(), now=self._clock.now())
        self._exchanges: dict[Ticket, Exchange] = {}
        self._probes: asyncio.Queue[Replica] = asyncio.Queue()  # bounded by the core: one per worker at a time
        self._loop: asyncio.AbstractEventLoop | None = None
        """Known once `run` has begun."""
        self._timer: Timer | None = None
        self._timer_at: float | None = None
        self._request = _OpenRequest(self)
        self._open_requests = 0
        self._is_draining = False
        self._nothing_in_flight = asyncio.Event()
        """Set while draining, for good: nothing begins after that."""

    # ---- jobs

    def exchange(self, job: Job) -> Exchange:
        """Entering it places the job and gives a worker's answer; leaving early cancels the work at the worker.

        A worker lost, or refusing, or failing before it answered costs one more attempt elsewhere when the body can
        be sent again. Raises what `core.submit` raises, and WorkerLost, WorkerFailed, DeadlineExceeded, or what the
        client's own input or body deserved (BadInput, SlowBody and so on).
        """
        return Exchange(job, self._core, self._clock, self, Scope(self._loop), self._settings.reply_hold_bytes)

    def open_request(self) -> AbstractContextManager[None]:
        """A request whose jobs are still to come, while its bodies arrive. A drain waits for it and takes its jobs: it
        was accepted. Entering raises Draining."""
        return self._request

    async def drain(self, grace_s: float) -> bool:
        """Takes no new request nor a job of none, and waits until nothing is in flight; False if `grace_s` passed."""
        self._is_draining = True
        self._look_idle()
        try:
            with Scope() as scope:
                timer = self._clock.call_at(self._clock.now() + grace_s, scope.expire)
                try:
                    await self._nothing_in_flight.wait()
                finally:
                    timer.cancel()
        except TimeoutError:
            return False
        return True

    @property
    def in_flight(self) -> int:
        """Jobs waiting or running."""
        return self._core.live_jobs

    def queued(self, model: str) -> int:
        """Jobs of this model that wait for a worker."""
        return self._core.queued_jobs(model)

    # ---- workers

    def join(self, link: Link, offers: Sequence[ModelOffer]) -> None:
        now = self._clock.now()
        self._core.join(link, offers, now)
        self.advance(now)

    def leave(self, link: Link, reason: str) -> None:
        now = self._clock.now()
        self._core.leave(link, reason, now)
        self.advance(now)

    def update(self, link: Link, offers: Sequence[ModelOffer]) -> None:
        now = self._clock.now()
        self._core.update(link, offers, now)
        self.advance(now)

    def load(self, link: Link, report: LoadReport) -> None:
        now = self._clock.now()
        self._core.load(link, report, now)
        self.advance(now)

    def drain_worker(self, link: Link) -> None:
        now = self._clock.now()
        self._core.drain_worker(link, now)
        self.advance(now)

    def workers_view(self) -> list[dict[str, object]]:
        """Every worker as JSON values, by name; the fields are those of `view.py`."""
        return workers_view(self._core.fleet, self._clock.now())

    @property
    def models(self) -> dict[str, int]:
        """Every model ever announced, and how many workers are ready for it now."""
        return {name: pool.ready_count for name, pool in self._core.fleet.pools.items()}

    def offer(self, model: str, worker: str = "") -> ModelOffer | None:
        """What this worker announces of the model; without a name, what one that is ready does, else any that is here.
        None when there is no such announcement."""
        pool = self._core.fleet.pools.get(model)
        if pool is None:
            return None
        replica = pool.replicas.get(worker) if worker else pool.sample()
        return None if replica is None else replica.offer

    def versions(self, model: str) -> list[str]:
        """The versions of the model that workers announce now, each once."""
        pool = self._core.fleet.pools.get(model)
        replicas = () if pool is None else pool.replicas.values()
        return list(dict.fromkeys(replica.offer.version for replica in replicas))

    @property
    def is_draining(self) -> bool:
        return self._is_draining

    async def run(self) -> None:
        """Runs the probes that the core asks for, each as a task of this one, until cancelled."""
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:  # ends by cancellation, from the composition root
                group.create_task(self._probe(await self._probes.get()))

    # ---- inside

    def request_began(self) -> None:
        """For open_request. Raises Draining."""
        if self._is_draining:
            raise Draining("this gateway is going away; try again", retry_after_s=self._settings.retry_after_min_s)
        self._open_requests += 1

    def request_ended(self) -> None:
        """For open_request."""
        self._open_requests -= 1
        if self._is_draining:
            self._look_idle()

    def began(self, ticket: Ticket, exchange: Exchange) -> None:
        """For Exchange: it is told what the core decides about its ticket."""
        self._exchanges[ticket] = exchange

    def ended(self, ticket: Ticket) -> None:
        """For Exchange: it is over."""
        del self._exchanges[ticket]
        if self._is_draining:
            self._look_idle()

    async def _probe(self, replica: Replica) -> None:
        service_s, reason = None, ""
        try:
            service_s = await replica.link.probe(replica.offer.name, self._settings.probe_timeout_s)
        except TimeoutError:
            reason = f"no answer within {self._settings.probe_timeout_s:g} s"
        except ExchangeError as error:
            reason = str(error) or type(error).__name__
        except Exception as error:
            log.exception("probe of worker %s for model %s", replica.worker, replica.offer.name)
            reason = f"{type(error).__name__}: {error}"
        now = self._clock.now()
        self._core.probed(replica, service_s, reason, now)
        self.advance(now)

    def _look_idle(self) -> None:
        """While draining, jobs are taken until the last open request is over."""
        self._core.is_draining = not self._open_requests
        if not self._exchanges and not self._open_requests:
            self._nothing_in_flight.set()

    def advance(self, now: float) -> None:
        """Does what the core wants done after a change. `now` is when that was."""
        for effect in self._core.advance(now):
            self._act(effect)
        wake_at = self._core.wake_at()
        if wake_at != self._timer_at:
            self._set_timer(wake_at)

    def _act(self, effect: Effect) -> None:
        match effect:  # by class alone: a pattern that takes it apart costs four times as much
            case Assigned():
                self._exchanges[effect.ticket].chosen(effect.decision.replica)
            case Rejected():
                self._exchanges[effect.ticket].chosen(effect.error)
            case Expired():
                self._exchanges[effect.ticket].expired()
            case ProbeDue():
                self._probes.put_nowait(effect.replica)
            case CloseLink():
                effect.link.close(effect.reason)

    def _set_timer(self, wake_at: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = wake_at
        self._timer = None if wake_at is None else self._clock.call_at(wake_at, self._wake)

    def _wake(self) -> None:
        self._timer = self._timer_at = None
        self.advance(self._clock.now())


class _OpenRequest:
    """What `open_request` returns: one for all requests, as it keeps nothing of any."""

    __slots__ = ("_dispatcher",)

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def __enter__(self) -> None:
        self._dispatcher.request_began()

    def __exit__(self, *_raised: object) -> None:
        self._dispatcher.request_ended()
