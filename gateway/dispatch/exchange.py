"""One job's stay in dispatch, as who asked for it awaits it: an `async with` that gives every claim back at its end.

It waits for the core's choice, asks the worker, and asks another when the first is lost, refuses or fails. A class
with two methods, where a generator would read better: an event loop is told of each asynchronous generator's beginning
and end, and there would be several to a request (docs/explanation/performance.md).
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Protocol

from gateway.dispatch.clock import Clock
from gateway.dispatch.core import Core
from gateway.dispatch.effects import Failure
from gateway.dispatch.estimator import measured_service_s
from gateway.dispatch.model import ExchangeError, ExchangeFailed, ExchangeRefused, Held, Job, Metadata, Reply
from gateway.dispatch.queue import Ticket
from gateway.dispatch.replica import Replica
from gateway.errors import DeadlineExceeded, GatewayError


class Shell(Protocol):
    """What an exchange needs of the dispatcher around it."""

    def began(self, ticket: Ticket, exchange: Exchange) -> None:
        """`chosen` and `expired` of this exchange are called from now on."""

    def ended(self, ticket: Ticket) -> None:
        """They are not any more."""

    def advance(self) -> None:
        """Does what the core wants done after a change."""


class Exchange:
    """What `Dispatcher.exchange` returns. The job is submitted when it is entered."""

    __slots__ = ("_chosen", "_clock", "_core", "_hold_bytes", "_job", "_link", "_reply", "_scope", "_shell", "_ticket")

    def __init__(self, job: Job, core: Core, clock: Clock, shell: Shell, hold_bytes: int) -> None:
        """An answer that declares a length up to `hold_bytes` is read whole before it is anybody's."""
        self._job = job
        self._core = core
        self._clock = clock
        self._shell = shell
        self._hold_bytes = hold_bytes
        self._scope = asyncio.timeout(None)
        """Ends the exchange at its deadline."""
        self._chosen: asyncio.Future[Replica | GatewayError] = asyncio.Future()
        """Where the job goes, or why nowhere."""
        self._link: AbstractAsyncContextManager[Reply] | None = None
        """The worker's exchange while it is open."""

    # ---- told by the dispatcher

    def chosen(self, chosen: Replica | GatewayError) -> None:
        """The core's decision."""
        if not self._chosen.done():  # done: its task is being cancelled, and will give the claim back
            self._chosen.set_result(chosen)

    def expired(self) -> None:
        """The deadline passed."""
        expire(self._scope)

    # ---- awaited by who asked

    async def __aenter__(self) -> Reply:
        """Waits for the head of a worker's answer, or for all of a short one."""
        self._ticket = self._core.submit(self._job, self._clock.now())
        self._shell.began(self._ticket, self)
        try:
            await self._scope.__aenter__()
            self._shell.advance()
            self._reply = await self._answer()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self._reply

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outcome = "cancelled"
        try:
            await self._leave(error)
        except ExchangeError as failure:  # while the answer was being read: too late for another worker
            raise (self._fail(failure, may_retry=False) or failure) from failure
        except GatewayError as refusal:
            outcome = refusal.code
            raise
        except TimeoutError as timeout:
            if not self._scope.expired():
                raise
            outcome = DeadlineExceeded.code
            attempts = self._ticket.attempts
            raise DeadlineExceeded(f"no answer before the deadline, after {attempts} attempts") from timeout
        finally:
            was_live = self._core.cancel(self._ticket, outcome, self._clock.now())
            self._shell.ended(self._ticket)
            if was_live:
                self._shell.advance()

    async def _leave(self, error: BaseException | None) -> None:
        """Leaves the worker's exchange if it is open, then the deadline's scope, with what was raised within."""
        if error is None and self._link is None:
            await self._scope.__aexit__(None, None, None)
            return
        async with AsyncExitStack() as stack:
            stack.push_async_exit(self._scope)
            if self._link is not None:
                stack.push_async_exit(self._link)
            if error is not None:
                raise error
            self._answered(self._reply)

    async def _answer(self) -> Reply:
        """The first answer of any worker; its exchange stays open unless the answer is held here whole."""
        while True:
            chosen = await self._chosen
            if isinstance(chosen, GatewayError):
                raise chosen
            try:
                return await self._attempt(chosen)
            except ExchangeError as error:
                self._chosen = asyncio.Future()
                final = self._fail(error, may_retry=True)
                if final is not None:
                    raise final from error

    async def _attempt(self, replica: Replica) -> Reply:
        """One worker's answer: a short one is read to its end here, so that its slot is free and nothing can break it
        any more; a long one, or a stream, is passed on as it comes."""
        ticket, job, hold_bytes = self._ticket, self._job, self._hold_bytes
        link = replica.link.exchange(job)
        reply = await link.__aenter__()
        self._link = link
        timing = reply.timing
        timing.queue_s, timing.attempts, timing.worker = ticket.queue_s, ticket.attempts, replica.worker
        if job.is_stream:
            self._core.began_answer(ticket)
            return reply
        if _declared_bytes(reply.metadata) > hold_bytes:
            return reply
        try:
            body = await _whole(reply, hold_bytes)
        finally:
            self._link = None
            await link.__aexit__(None, None, None)
        self._answered(reply)
        return Reply(reply.status, reply.metadata, Held(body), timing)

    def _answered(self, reply: Reply) -> None:
        self._core.answered(self._ticket, measured_service_s(reply.timing.worker_s), self._clock.now())
        self._shell.advance()

    def _fail(self, error: ExchangeError, *, may_retry: bool) -> GatewayError | None:
        """Tells the core; None when the job waits for another worker."""
        if isinstance(error, ExchangeRefused):
            failure = Failure.REFUSED
        else:
            failure = Failure.FAILED if isinstance(error, ExchangeFailed) else Failure.LOST
        now = self._clock.now()
        final = self._core.failed(self._ticket, failure, str(error), now, may_retry=may_retry)
        self._shell.advance()
        return final


def expire(scope: asyncio.Timeout) -> None:
    """Ends an `asyncio.timeout` block now, by the injected clock's word instead of the loop's."""
    scope.reschedule(asyncio.get_running_loop().time())


def _declared_bytes(metadata: Metadata) -> float:
    """The answer's own content-length; infinite when it has none, as a stream that must not be held."""
    for name, value in metadata:
        if name == "content-length" and value.isascii() and value.isdigit():
            return int(value)
    return float("inf")


async def _whole(reply: Reply, limit_bytes: int) -> bytes:
    try:
        return await reply.read(limit_bytes)
    except ValueError as error:
        raise ExchangeFailed(f"the answer is longer than it declared: {error}") from error
