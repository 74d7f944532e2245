"""Many photographs in one multipart/form-data request: a list in the order sent, a result or an error for each.

Files are given to workers as they arrive, a bounded number at a time; while so many are held, no more is read from the
client. One bad file fails only itself. What is wrong with the request as a whole ends it, and cancels what it started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from gateway.config import Limits
from gateway.dispatch.model import Body, Job
from gateway.errors import (
    BadInput,
    BadRequest,
    Draining,
    GatewayError,
    NoWorker,
    PayloadTooLarge,
    QueueFull,
    UnknownModel,
    UnknownWorker,
    UnsupportedMedia,
)
from gateway.http.body import ByteBudget, ClientStream, WholeBody
from gateway.http.errors import internal_problem, problem_of
from gateway.http.exchange import Exchanger, completed
from gateway.http.groups import first_error
from gateway.http.media import is_image_like, media_type_of
from gateway.http.multipart import MultipartParser, PartBegan, PartEnded

ABOUT_THE_REQUEST = (Draining, NoWorker, QueueFull, UnknownModel, UnknownWorker)
"""Failures that are no file's own. When every file meets the same one, it is the answer to the request."""

Outcome = dict[str, object] | GatewayError
MakeJob = Callable[[Body, int, str], Job]
"""(body, the file's number from 0, its content type) -> its job."""


@dataclass(slots=True)
class _File:
    """One part while it arrives."""

    head: PartBegan
    pieces: list[bytes] = field(default_factory=list)
    size_bytes: int = 0
    error: GatewayError | None = None
    """Set when the file has failed before it was whole; the rest of it is thrown away."""


class FilesRequest:
    """One request's files, from the stream to the list of outcomes."""

    def __init__(self, limits: Limits, budget: ByteBudget, exchanger: Exchanger, request_id: str) -> None:
        self._limits = limits
        self._budget = budget
        self._exchanger = exchanger
        self._request_id = request_id
        self._places = asyncio.Semaphore(limits.max_parallel_parts)
        self._files: list[PartBegan] = []
        self._outcomes: dict[int, Outcome] = {}
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger()
        self._held_bytes = 0
        self.received_bytes = 0
        self.workers: dict[str, None] = {}
        """The workers that answered, in the order of their first answer."""

    async def answer(self, stream: ClientStream, parser: MultipartParser, make_job: MakeJob) -> list[dict[str, object]]:
        """An object for each file. Raises the GatewayError that is about the request as a whole."""
        outcomes = await self.outcomes(stream, parser, make_job)
        return [self._shown(head, outcome) for head, outcome in outcomes]

    async def outcomes(
        self, stream: ClientStream, parser: MultipartParser, make_job: MakeJob
    ) -> list[tuple[PartBegan, Outcome]]:
        """Each file's head and what became of it. Raises the GatewayError that is about the request as a whole."""
        try:
            with first_error():
                async with asyncio.TaskGroup() as tasks:
                    await self._receive(stream, parser, make_job, tasks)
        finally:
            # All of it at once: a task that is cancelled before its first step gives nothing back itself.
            self._let_go(self._held_bytes)
        if not self._files:
            raise BadRequest("the multipart body holds no file")
        outcomes = [self._outcomes[number] for number in range(len(self._files))]
        self._raise_common(outcomes)
        return list(zip(self._files, outcomes, strict=True))

    @property
    def failures(self) -> list[str]:
        """The codes of the files that failed."""
        return [outcome.code for outcome in self._outcomes.values() if isinstance(outcome, GatewayError)]

    async def _receive(
        self, stream: ClientStream, parser: MultipartParser, make_job: MakeJob, tasks: asyncio.TaskGroup
    ) -> None:
        """Reads to the end, and starts a task for each file that is whole."""
        file: _File | None = None
        while data := await stream.next():
            self._count(len(data))
            for event in parser.feed(data):
                if isinstance(event, PartBegan):
                    await self._places.acquire()
                    file = self._begin(event)
                    continue
                assert file is not None, "the parser begins a part before it fills or ends it"
                if isinstance(event, PartEnded):
                    tasks.create_task(self._finish(file, len(self._files) - 1, make_job))
                else:
                    self._keep(file, event)
        parser.finish()

    def _count(self, size_bytes: int) -> None:
        self.received_bytes += size_bytes
        if self.received_bytes > self._limits.max_multipart_bytes:
            raise too_large(self._limits)

    def _begin(self, head: PartBegan) -> _File:
        self._files.append(head)
        file = _File(head)
        if head.content_type and not is_image_like(media_type_of(head.content_type)):
            file.error = UnsupportedMedia(f"{head.content_type} is not an image type")
        return file

    def _keep(self, file: _File, piece: bytes) -> None:
        if file.error is None and file.size_bytes + len(piece) > self._limits.max_body_bytes:
            file.error = PayloadTooLarge(f"the file is larger than {self._limits.max_body_bytes} bytes")
        if file.error is not None:
            file.pieces.clear()
            return
        self._budget.take(len(piece))
        self._held_bytes += len(piece)
        file.size_bytes += len(piece)
        file.pieces.append(piece)

    async def _finish(self, file: _File, number: int, make_job: MakeJob) -> None:
        """The top of a file's task: whatever happens is this file's outcome."""
        try:
            self._outcomes[number] = await self._infer(file, number, make_job)
        except GatewayError as error:
            self._outcomes[number] = error
        except Exception:
            self._log.exception("file_failed", request_id=self._request_id, file_number=number)
            self._outcomes[number] = GatewayError(internal_problem().detail)
        finally:
            file.pieces.clear()
            self._let_go(file.size_bytes)
            self._places.release()

    def _let_go(self, size_bytes: int) -> None:
        self._held_bytes -= size_bytes
        self._budget.give_back(size_bytes)

    async def _infer(self, file: _File, number: int, make_job: MakeJob) -> dict[str, object]:
        if file.error is not None:
            raise file.error
        if not file.size_bytes:
            raise BadInput("the file is empty")
        job = make_job(WholeBody(file.pieces), number, file.head.content_type)
        answer = await self._exchanger.labels(job)
        self.workers[answer.worker] = None
        return completed(answer, job.id)

    def _raise_common(self, outcomes: list[Outcome]) -> None:
        first = outcomes[0]
        if isinstance(first, ABOUT_THE_REQUEST) and all(type(outcome) is type(first) for outcome in outcomes):
            raise first

    def _shown(self, head: PartBegan, outcome: Outcome) -> dict[str, object]:
        """Which file it was, then its result or its problem."""
        shown: dict[str, object] = {"file": head.filename or head.field}
        if isinstance(outcome, GatewayError):
            return shown | problem_of(outcome).document(self._request_id)
        return shown | outcome


def too_large(limits: Limits) -> PayloadTooLarge:
    """All files together are over the limit."""
    limit = limits.max_multipart_bytes
    return PayloadTooLarge(f"the files are larger than {limit} bytes together (limits.max_multipart_bytes)")
