"""Exchanges of one tunnel that are streamed: the session's events go to each one's sink, its answer to the session.

Nothing is collected here. What a sink has not used up keeps its bytes, bounded by the exchange's receive window; what
the gateway has not taken keeps the sender waiting, told by `is_full` and `room_made`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from edge_worker.backends.forwarding import Headers, Sink
from edge_worker.exchange_runner import NotAnswered
from edge_worker.forward_runner import ForwardRunner
from wire.errors import ExchangeCode
from wire.frames import Buffer, Metadata, RequestHead, ResponseHead
from wire.pump import Pump
from wire.session import LOW_WATER_BYTES, Session


class StreamedExchange:
    """One exchange: fits `forward_runner.TimedExchange`."""

    def __init__(self, number: int, head: RequestHead, intake: StreamIntake) -> None:
        self.service, self.method, self.path = head.model, head.method, head.path
        self.headers: Headers = (
            (*head.metadata, ("traceparent", head.traceparent)) if head.traceparent else head.metadata
        )
        self.body_bytes = head.body_bytes
        self.on_answered: Callable[[], None] | None = None
        self._number = number
        self._intake = intake
        self._session = intake.session
        self._came_at = self._whole_at = self._began_at = intake.clock()
        self.deadline_at = self._came_at + head.deadline_ms / 1000 if head.deadline_ms else None
        self._sink: Sink | None = None
        self._waiting: deque[Buffer] = deque()  # bounded by the receive window
        self._trailers: Headers | None = None  # those of the request, once its body has ended
        self.is_ended = False
        """Whether the answer was given in full."""

    # --- told by the intake -------------------------------------------------------------------------------------------

    def body_received(self, data: Buffer) -> None:
        """More of the request."""
        if self._sink is None:
            self._waiting.append(data)
        else:
            self._sink.body_received(data)

    def body_ended(self, trailers: Headers) -> None:
        """The request is whole."""
        self._whole_at = self._intake.clock()
        self._trailers = trailers
        if self._sink is not None:
            self._sink.body_ended(trailers)

    def room_made(self) -> None:
        """The session has taken most of what it was given."""
        if self._sink is not None:
            self._sink.room_made()

    # --- for the forwarder --------------------------------------------------------------------------------------------

    def began(self) -> None:
        """It has its slot."""
        self._began_at = self._intake.clock()

    def attach(self, sink: Sink) -> None:
        """See `Exchange`."""
        self._sink = sink
        while self._waiting:
            sink.body_received(self._waiting.popleft())
        if self._trailers is not None:
            sink.body_ended(self._trailers)

    def consumed(self, size: int) -> None:
        """See `Exchange`."""
        self._session.consume(self._number, size, self._intake.clock())

    def inform(self, status: int, headers: Headers) -> None:
        """See `Exchange`."""
        if self._is_wanted:
            self._session.respond(self._number, ResponseHead(status, tuple(headers)))

    def respond(self, status: int, headers: Headers, body_bytes: int | None) -> None:
        """See `Exchange`."""
        if self.on_answered is not None:
            self.on_answered()
        if self._is_wanted:
            self._session.respond(self._number, self._head(status, headers, body_bytes))

    def send(self, data: Buffer) -> None:
        """See `Exchange`."""
        if self._is_wanted:
            self._session.send_body(self._number, data)

    def end(self, trailers: Headers = ()) -> None:
        """See `Exchange`."""
        if self._is_wanted:
            self._session.send_body(self._number, b"", end=True, trailers=tuple(trailers))
        self.is_ended = True

    def flush(self) -> None:
        """See `Exchange`."""
        self._intake.pump.wake()

    @property
    def is_full(self) -> bool:
        """See `Exchange`."""
        return self._is_wanted and self._session.unsent_bytes(self._number) > LOW_WATER_BYTES

    @property
    def _is_wanted(self) -> bool:
        return self._session.is_open(self._number)

    def _head(self, status: int, headers: Headers, body_bytes: int | None) -> ResponseHead:
        now = self._intake.clock()
        steps = {"worker_queue": self._began_at - self._came_at, "upstream": now - self._began_at}
        return ResponseHead(
            status=status,
            metadata=tuple(headers),
            body_bytes=body_bytes,
            received_us=int(self._whole_at * 1e6),
            sent_us=int(now * 1e6),
            durations_us=tuple((name, max(0, round(seconds * 1e6))) for name, seconds in steps.items()),
        )


class StreamIntake:
    """What one tunnel does with its exchanges when the backend forwards."""

    def __init__(
        self,
        session: Session,
        pump: Pump,
        runner: ForwardRunner,
        tasks: asyncio.TaskGroup,
        clock: Callable[[], float],
        on_over: Callable[[], None],
    ) -> None:
        """`on_over` is called when an exchange was ended from here without an answer."""
        self.session = session
        self.pump = pump
        self.clock = clock
        self._runner = runner
        self._tasks = tasks
        self._on_over = on_over
        self._open: dict[int, tuple[StreamedExchange, asyncio.Task[None]]] = {}

    def request_received(self, exchange: int, head: RequestHead) -> None:
        """See Intake."""
        streamed = StreamedExchange(exchange, head, self)
        task = self._tasks.create_task(self._run(exchange, streamed))
        self._open[exchange] = streamed, task
        task.add_done_callback(lambda _: self._open.pop(exchange))  # also when it is cancelled before it began

    def body_received(self, exchange: int, data: Buffer) -> None:
        """See Intake."""
        if found := self._open.get(exchange):
            found[0].body_received(data)

    def body_ended(self, exchange: int, trailers: Metadata) -> None:
        """See Intake."""
        if found := self._open.get(exchange):
            found[0].body_ended(trailers)

    def body_sent(self, exchange: int) -> None:
        """See Intake."""
        if found := self._open.get(exchange):
            found[0].room_made()

    def cancelled(self, exchange: int) -> None:
        """See Intake."""
        if found := self._open.get(exchange):
            found[1].cancel()

    def drop_all(self) -> None:
        """See Intake."""
        for _, task in self._open.values():
            task.cancel()

    async def _run(self, number: int, exchange: StreamedExchange) -> None:
        failure = await self._runner.run(exchange)
        if failure is None and not exchange.is_ended:
            failure = NotAnswered(ExchangeCode.INTERNAL, "the worker left the answer unfinished")
        if failure is not None and self.session.is_open(number):
            self.session.fail(number, failure.code, failure.text)
            self.pump.wake()
            self._on_over()
