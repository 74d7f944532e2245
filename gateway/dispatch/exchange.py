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
from gateway.dispatch.scope import Scope
from gateway.errors import DeadlineExceeded, GatewayError


class Shell(Protocol):
    """What an exchange needs of the dispatcher around it."""

    def began(self, ticket: Ticket, exchange: Exchange) -> None:
        """`chosen` and `expired` of this exchange are called from now on."""

    def ended(self, ticket: Ticket) -> None:
        """They are not any more."""

    def advance(self, now: float) -> None:
        """Does what the core wants done after a change."""


class Exchange:
    """What `Dispatcher.exchange` returns. The job is submitted when it is entered."""

    __slots__ = (
        "_choice",
        "_clock",
        "_core",
        "_hold_bytes",
        "_job",
        "_link",
        "_reply",
        "_scope",
        "_shell",
        "_ticket",
        "_waiter",
    )

    def __init__(self, job: Job, core: Core, clock: Clock, shell: Shell, scope: Scope, hold_bytes: int) -> None:
        """`scope` ends it at its deadline. An answer that declares a length up to `hold_bytes` is read whole before it
        is anybody's."""
        self._job = job
        self._core = core
        self._clock = clock
        self._shell = shell
        self._hold_bytes = hold_bytes
        self._scope = scope
        self._choice: Replica | GatewayError | None = None
        """Where the job goes, or why nowhere; None while it waits."""
        self._waiter: asyncio.Future[None] | None = None
        """What a job waits for that is not placed at once."""
        self._link: AbstractAsyncContextManager[Reply] | None = None
        """The worker's exchange while it is open."""

    # ---- told by the dispatcher

    def chosen(self, chosen: Replica | GatewayError) -> None:
        """The core's decision."""
        self._choice = chosen
        if self._waiter is not None and not self._waiter.done():  # done: its task is being cancelled, and gives it back
            self._waiter.set_result(None)

    def expired(self) -> None:
        """The deadline passed."""
        self._scope.expire()

    # ---- awaited by who asked

    async def __aenter__(self) -> Reply:
        """Waits for the head of a worker's answer, or for all of a short one."""
        now = self._clock.now()
        self._ticket = self._core.submit(self._job, now)
        self._shell.began(self._ticket, self)
        try:
            self._scope.__enter__()
            self._shell.advance(now)
            self._reply = await self._answer()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self._reply

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._link is None:  # answered, and the answer is held: nothing is open
            self._scope.__exit__(None, None, None)
            self._shell.ended(self._ticket)
            return
        outcome = "cancelled"
        try:
            await self._leave(error)
        except ExchangeError as failure:  # while the answer was being read: too late for another worker
            raise (self._fail(failure, may_retry=False) or failure) from failure
        except GatewayError as refusal:
            outcome = refusal.code
            raise
        except TimeoutError as timeout:
            if not self._scope.is_expired:
                raise
            outcome = DeadlineExceeded.code
            attempts = self._ticket.attempts
            raise DeadlineExceeded(f"no answer before the deadline, after {attempts} attempts") from timeout
        finally:
            now = self._clock.now()
            was_live = self._core.cancel(self._ticket, outcome, now)
            self._shell.ended(self._ticket)
            if was_live:
                self._shell.advance(now)

    async def _leave(self, error: BaseException | None) -> None:
        """Leaves the worker's exchange if it is open, then the deadline's scope, with what was raised within."""
        async with AsyncExitStack() as stack:
            stack.push(self._scope)
            if self._link is not None:
                stack.push_async_exit(self._link)
            if error is not None:
                raise error
            self._answered(self._reply)

    async def _answer(self) -> Reply:
        """The first answer of any worker; its exchange stays open unless the answer is held here whole."""
        while True:
            if self._choice is None:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
            choice, self._choice = self._choice, None
            if isinstance(choice, GatewayError):
                raise choice
            assert choice is not None, "woken before it was chosen"
            try:
                return await self._attempt(choice)
            except ExchangeError as error:
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
            reply.body = Held(await reply.read(hold_bytes))
        except ValueError as error:
            raise ExchangeFailed(f"the answer is longer than it declared: {error}") from error
        finally:
            self._link = None
            await link.__aexit__(None, None, None)
        self._answered(reply)
        return reply

    def _answered(self, reply: Reply) -> None:
        now = self._clock.now()
        self._core.answered(self._ticket, measured_service_s(reply.timing.worker_s), now)
        self._shell.advance(now)

    def _fail(self, error: ExchangeError, *, may_retry: bool) -> GatewayError | None:
        """Tells the core; None when the job waits for another worker."""
        if isinstance(error, ExchangeRefused):
            failure = Failure.REFUSED
        else:
            failure = Failure.FAILED if isinstance(error, ExchangeFailed) else Failure.LOST
        now = self._clock.now()
        final = self._core.failed(self._ticket, failure, str(error), now, may_retry=may_retry)
        self._shell.advance(now)
        return final


def _declared_bytes(metadata: Metadata) -> float:
    """The answer's own content-length; infinite when it has none, as a stream that must not be held."""
    for name, value in metadata:
        if name == "content-length" and value.isascii() and value.isdigit():
            return int(value)
    return float("inf")
