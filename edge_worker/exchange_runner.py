"""One request, from its head to its answer: admission, deadline, the backend, and what its failures are called.

Knows the backend and the model's slots, but no session: the link gives it a whole request and takes what comes back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from edge_worker.admission import Admissions, Overloaded
from edge_worker.backends.base import Answer, Backend, BackendFailed, BadInput, Call, NotReady
from wire.errors import ExchangeCode
from wire.frames import PROBE_METHOD, Buffer, RequestHead, ResponseHead

BAD_INPUT_CODES = {
    "bad_request": ExchangeCode.BAD_REQUEST,
    "bad_input": ExchangeCode.BAD_INPUT,
    "unsupported_media_type": ExchangeCode.UNSUPPORTED_MEDIA_TYPE,
    "payload_too_large": ExchangeCode.PAYLOAD_TOO_LARGE,
    "unknown_model": ExchangeCode.UNKNOWN_MODEL,
}
"""BadInput's words in the protocol's."""

log = logging.getLogger("edge_worker.exchange")


@dataclass(slots=True)
class Answered:
    """A response to send."""

    head: ResponseHead
    body: bytes


@dataclass(frozen=True, slots=True)
class NotAnswered:
    """A failure to send."""

    code: ExchangeCode
    text: str


_TOO_LATE = NotAnswered(ExchangeCode.DEADLINE, "the deadline passed at the worker")


@dataclass(slots=True)
class WholeRequest:
    """A request whose body is here. Times are seconds of the session's clock."""

    head: RequestHead
    body: Buffer
    began_at: float
    """When its head came: its deadline counts from here."""
    received_at: float
    """When its last byte came."""


class ExchangeRunner:
    """Runs requests of every tunnel of this worker over the same slots."""

    def __init__(self, backend: Backend, admissions: Admissions, clock: Callable[[], float] = time.monotonic) -> None:
        self._backend = backend
        self._admissions = admissions
        self._clock = clock
        self.answered_at: dict[str, float] = {}
        """When each model was last done with an answer, in seconds of the clock."""

    async def run(self, request: WholeRequest) -> Answered | NotAnswered:
        """Computes the answer. Never raises but CancelledError: every failure has its code."""
        admission = self._admissions.get(request.head.model)
        if admission is None:
            return NotAnswered(ExchangeCode.UNKNOWN_MODEL, f"this worker does not serve {request.head.model!r}")
        left_s = self._left_s(request)
        if left_s is not None and left_s <= 0:
            return _TOO_LATE
        deadline = asyncio.timeout(left_s)
        try:
            async with deadline, admission:
                return self._answered(request, await self._asked(request))
        except (Overloaded, NotReady) as error:  # nothing was begun: another worker may have it at no risk
            return NotAnswered(ExchangeCode.OVERLOADED, str(error))
        except BadInput as error:
            return NotAnswered(BAD_INPUT_CODES[error.code], str(error))
        except BackendFailed as error:
            log.warning("backend failed", extra={"model": request.head.model, "reason": str(error)})
            return NotAnswered(ExchangeCode.BACKEND_FAILED, str(error))
        except Exception:  # a backend's bug costs one exchange, not the worker
            if deadline.expired():
                return _TOO_LATE
            log.exception("backend raised what it must not", extra={"model": request.head.model})
            return NotAnswered(ExchangeCode.INTERNAL, "the worker failed; its log says why")

    def _left_s(self, request: WholeRequest) -> float | None:
        """Seconds until the deadline, negative when it has passed; None without one."""
        if not request.head.deadline_ms:
            return None
        return request.began_at + request.head.deadline_ms / 1000 - self._clock()

    def _asked(self, request: WholeRequest) -> Awaitable[Answer]:
        head = request.head
        if head.method == PROBE_METHOD:
            return self._backend.probe(head.model)
        deadline_at = request.began_at + head.deadline_ms / 1000 if head.deadline_ms else None
        return self._backend.answer(Call(head.model, head.method, head.path, head.metadata, request.body, deadline_at))

    def _answered(self, request: WholeRequest, answer: Answer) -> Answered:
        """All the time here that no step took was waiting, for a slot or on the way to the engine and back."""
        ended = self.answered_at[request.head.model] = self._clock()
        waited_s = ended - request.received_at - sum(answer.durations_s.values())
        durations = {"worker_queue": waited_s, **answer.durations_s}
        head = ResponseHead(
            status=answer.status,
            metadata=(("content-type", answer.content_type), *answer.metadata),
            body_bytes=len(answer.body),
            received_us=int(request.received_at * 1e6),
            sent_us=int(ended * 1e6),
            durations_us=tuple([(name, max(0, round(seconds * 1e6))) for name, seconds in durations.items()]),
        )
        return Answered(head, answer.body)
