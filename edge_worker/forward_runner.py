"""One streamed exchange at the worker: a slot, the deadline of the answer's head, and what its failures are called.

The counterpart of `exchange_runner.py` for a backend that forwards. A deadline ends with the answer's head: what
follows may last as long as somebody listens, a stream of events for days.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from edge_worker.admission import Admissions, Overloaded
from edge_worker.backends.base import BackendFailed, BadInput, NotReady, ServedModel
from edge_worker.backends.forwarding import Exchange, Forwarder
from edge_worker.exchange_runner import BAD_INPUT_CODES, NotAnswered
from wire.errors import ExchangeCode
from wire.frames import PROBE_METHOD

log = logging.getLogger("edge_worker.forward")

_TOO_LATE = NotAnswered(ExchangeCode.DEADLINE, "the deadline passed before the server behind the worker answered")


class TimedExchange(Exchange, Protocol):
    """An exchange whose head is awaited for so long and no longer."""

    deadline_at: float | None
    """Seconds of the worker's clock; None for never."""
    on_answered: Callable[[], None] | None
    """Called once, with the answer's head."""

    def began(self) -> None:
        """It has its slot: what follows is the server's time."""


class ForwardRunner:
    """Runs exchanges of every tunnel of this worker over the same slots."""

    def __init__(
        self, forwarder: Forwarder, admissions: Admissions, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._forwarder = forwarder
        self._admissions = admissions
        self._clock = clock
        self._failures: dict[str, str] = {}

    def update(self, services: Sequence[ServedModel]) -> None:
        """What the forwarder found when it last looked at the servers."""
        self._failures = {service.name: service.failure for service in services}

    async def states(self) -> Mapping[str, str]:
        """For each service `ready`, or why it is not."""
        return {name: f"not ready: {failure}" if failure else "ready" for name, failure in self._failures.items()}

    async def run(self, exchange: TimedExchange) -> NotAnswered | None:
        """Forwards it; None when the answer was given in full. Never raises but CancelledError."""
        admission = self._admissions.get(exchange.service)
        if admission is None:
            return NotAnswered(ExchangeCode.UNKNOWN_MODEL, f"this worker has no service {exchange.service!r}")
        left_s = None if exchange.deadline_at is None else exchange.deadline_at - self._clock()
        if left_s is not None and left_s <= 0:
            return _TOO_LATE
        scope = asyncio.timeout(left_s)
        exchange.on_answered = lambda: scope.reschedule(None)
        try:
            async with scope, admission:
                exchange.began()
                await self._forward(exchange)
        except (Overloaded, NotReady, BadInput, BackendFailed) as error:
            return _named(error, exchange.service)
        except Exception:  # a bug here costs one exchange, not the worker
            if scope.expired():
                return _TOO_LATE
            log.exception("forwarding failed", extra={"service": exchange.service})
            return NotAnswered(ExchangeCode.INTERNAL, "the worker failed; its log says why")
        finally:
            exchange.on_answered = None
        return None

    async def _forward(self, exchange: Exchange) -> None:
        if exchange.method != PROBE_METHOD:
            await self._forwarder.forward(exchange)
            return
        await self._forwarder.probe(exchange.service)
        exchange.respond(200, (), 0)
        exchange.end()
        exchange.flush()


def _named(error: Exception, service: str) -> NotAnswered:
    match error:
        case Overloaded() | NotReady():  # nothing was begun: another worker may have it at no risk
            code = ExchangeCode.OVERLOADED
        case BadInput():
            code = BAD_INPUT_CODES[error.code]
        case _:
            code = ExchangeCode.BACKEND_FAILED
            log.warning("the server behind failed", extra={"service": service, "reason": str(error)})
    return NotAnswered(code, str(error))
