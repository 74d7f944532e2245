"""Exchanges of one tunnel whose bodies are collected: a request is run when it is whole, and its answer sent whole.

Bounds what arriving, waiting and running requests hold together. What is computed is `exchange_runner.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_worker.exchange_runner import Answered, ExchangeRunner, NotAnswered, WholeRequest
from wire.errors import ExchangeCode
from wire.frames import Buffer, Metadata, RequestHead
from wire.pump import Pump
from wire.session import Session

HELD_BODIES = 8
"""Bodies of the largest size that one tunnel may make this worker hold, arriving, waiting and running together. 128
photographs are far less; 128 of the largest would end the process."""

log = logging.getLogger("edge_worker.tunnel")


@dataclass(slots=True)
class _Arriving:
    """A request whose body is still coming."""

    head: RequestHead
    began_at: float
    chunks: list[Buffer] = field(default_factory=list)
    size: int = 0


class WholeIntake:
    """What one tunnel does with its exchanges when the backend computes."""

    def __init__(
        self,
        session: Session,
        pump: Pump,
        runner: ExchangeRunner,
        max_body_bytes: int,
        tasks: asyncio.TaskGroup,
        clock: Callable[[], float],
        on_over: Callable[[], None],
    ) -> None:
        """`on_over` is called when an exchange was ended from here without an answer."""
        self._session = session
        self._pump = pump
        self._runner = runner
        self._max_body_bytes = max_body_bytes
        self._tasks = tasks
        self._clock = clock
        self._on_over = on_over
        self._arriving: dict[int, _Arriving] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._held: dict[int, int] = {}  # body bytes by exchange, until it is over here

    def request_received(self, exchange: int, head: RequestHead) -> None:
        """See Intake."""
        if head.body_bytes is not None and head.body_bytes > self._max_body_bytes:
            self._refuse_size(exchange)
        else:
            self._arriving[exchange] = _Arriving(head, self._clock())

    def body_received(self, exchange: int, data: Buffer) -> None:
        """See Intake."""
        arriving = self._arriving.get(exchange)
        if arriving is None:
            return
        arriving.chunks.append(data)
        arriving.size += len(data)
        self._held[exchange] = arriving.size
        if arriving.size > self._max_body_bytes:
            self._refuse_size(exchange)
        elif sum(self._held.values()) > HELD_BODIES * self._max_body_bytes:
            self._refuse(exchange, ExchangeCode.OVERLOADED, "this worker holds too many bytes of bodies already")
        else:
            self._session.consume(exchange, len(data), self._clock())

    def body_ended(self, exchange: int, _trailers: Metadata) -> None:
        """See Intake."""
        arriving = self._arriving.pop(exchange, None)
        if arriving is None:
            return
        body = arriving.chunks[0] if len(arriving.chunks) == 1 else b"".join(arriving.chunks)
        request = WholeRequest(arriving.head, body, arriving.began_at, self._clock())
        task = self._tasks.create_task(self._run(exchange, request))
        self._running[exchange] = task
        task.add_done_callback(lambda _: self._finished(exchange))  # also when it is cancelled before it began

    def body_sent(self, exchange: int) -> None:
        """See Intake. An answer was given whole."""

    def cancelled(self, exchange: int) -> None:
        """See Intake."""
        task = self._running.get(exchange)
        if task is not None:
            task.cancel()
        else:
            self._forget(exchange)

    def drop_all(self) -> None:
        """See Intake."""
        for task in self._running.values():
            task.cancel()

    def _finished(self, exchange: int) -> None:
        del self._running[exchange]
        self._held.pop(exchange, None)  # a request may have no body

    async def _run(self, exchange: int, request: WholeRequest) -> None:
        result = await self._runner.run(request)
        if not self._session.is_open(exchange):
            return  # cancelled in the moment in which it was done
        if isinstance(result, Answered):
            self._answer(exchange, result)
        else:
            self._fail(exchange, result)

    def _answer(self, exchange: int, answer: Answered) -> None:
        try:
            self._session.respond(exchange, answer.head)
        except ValueError as error:
            log.error("answer cannot be sent", extra={"status": answer.head.status, "reason": str(error)})
            self._fail(exchange, NotAnswered(ExchangeCode.INTERNAL, f"the answer's head cannot be sent: {error}"))
            return
        self._session.send_body(exchange, answer.body, end=True)
        self._pump.wake()

    def _fail(self, exchange: int, failure: NotAnswered) -> None:
        self._session.fail(exchange, failure.code, failure.text)
        self._pump.wake()
        self._on_over()

    def _refuse_size(self, exchange: int) -> None:
        text = f"the body is over this worker's limit of {self._max_body_bytes} bytes"
        self._refuse(exchange, ExchangeCode.PAYLOAD_TOO_LARGE, text)

    def _refuse(self, exchange: int, code: ExchangeCode, text: str) -> None:
        """Ends an exchange whose body is still to come, or coming."""
        self._forget(exchange)
        self._fail(exchange, NotAnswered(code, text))

    def _forget(self, exchange: int) -> None:
        self._arriving.pop(exchange, None)
        self._held.pop(exchange, None)
