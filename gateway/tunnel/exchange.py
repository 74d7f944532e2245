"""One job's way to a worker and its reply's way back, as an `async with`: what `WorkerLink.exchange` returns.

It sends the body as it arrives and waits for the answer's head; `call.py` keeps what comes. A class with two methods,
where a generator would read better, for the reason given in `gateway.dispatch.exchange`.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Protocol

from gateway.dispatch.model import Job, Metadata, Reply
from gateway.tunnel.call import Call
from wire.frames import RequestHead, ResponseHead


class Tunnel(Protocol):
    """What an exchange needs of the link around it."""

    def now(self) -> float:
        """Seconds of the gateway's clock."""

    def open(self, head: RequestHead) -> tuple[int, Call]:
        """Begins an exchange. Raises ExchangeRefused, and BadRequest for a head that is too large."""

    def push(self, number: int, chunk: bytes, *, is_last: bool) -> bool:
        """Gives the session more of a body, to be sent when it is woken; False when nobody wants it any more."""

    def has_room(self, number: int) -> bool:
        """Whether the session wants more of a body now."""

    def account(self, call: Call) -> None:
        """Splits the time until now into where it went."""

    def close_exchange(self, number: int, text: str) -> None:
        """Nobody waits for it any more, or it is over."""

    def wake(self) -> None:
        """Something is to be sent."""


class TunnelExchange:
    """Entering sends the job and waits for the head of the answer; leaving early cancels the work."""

    __slots__ = ("_call", "_job", "_number", "_sender", "_tunnel")

    def __init__(self, tunnel: Tunnel, job: Job) -> None:
        self._tunnel = tunnel
        self._job = job
        self._sender: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Reply:
        tunnel, body = self._tunnel, self._job.body
        self._number, call = tunnel.open(self._head())
        self._call = call
        call.on_informational = self._job.on_informational
        try:
            if body.is_complete:
                await self._send_body()  # held already: all of it is queued at once, without a wait or a task
            else:  # the answer may come before everything is sent
                self._sender = asyncio.create_task(self._send_body())
                asyncio.get_running_loop().call_soon(tunnel.wake)  # the head leaves then, with what is here of the body
            head = await call.wait_head()
        except BaseException:
            await self.__aexit__()
            raise
        if not call.is_ended:
            tunnel.account(call)
        return Reply(head.status, _metadata(head), call, call.timing, call.trailers)

    async def __aexit__(self, *_raised: object) -> None:
        self._tunnel.close_exchange(self._number, "nobody waits for the answer")
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)

    def _head(self) -> RequestHead:
        job = self._job
        # 0 says that there is none; a deadline that is about to pass must not read so.
        deadline_ms = 0 if job.deadline == inf else max(1, int((job.deadline - self._tunnel.now()) * 1000))
        return RequestHead(
            method=job.method,
            path=job.path,
            model=job.model,
            metadata=tuple(job.metadata),
            deadline_ms=deadline_ms,
            traceparent=job.traceparent,
            body_bytes=job.body.size,
        )

    async def _send_body(self) -> None:
        """Forwards the body as it arrives. What the client does wrong ends the call with that error."""
        tunnel, number, call, body = self._tunnel, self._number, self._call, self._job.body
        sent, was_here = 0, body.is_complete
        try:
            async for chunk in body.chunks():
                if not was_here:
                    call.body_here_at, was_here = tunnel.now(), body.is_complete
                sent += len(chunk)
                is_last = sent == body.size
                if not tunnel.push(number, chunk, is_last=is_last):
                    return
                if is_last or not body.is_complete:  # else the rest is here, and goes with it
                    tunnel.wake()
                if is_last:
                    return
                if not body.is_complete and not tunnel.has_room(number):
                    await call.wait_room()
            if not was_here:
                call.body_here_at = tunnel.now()
            if tunnel.push(number, b"", is_last=True):
                tunnel.wake()
        except Exception as error:  # of a task's whole work: whoever waits for the answer raises it
            call.fail(error)


def _metadata(head: ResponseHead) -> Metadata:
    """With the body's length, where the head says it, as HTTP has it."""
    if head.body_bytes is None:
        return head.metadata
    return (*head.metadata, ("content-length", str(head.body_bytes)))
