"""One engine process as its worker sees it: started, asked, and ended.

It is well until it ends, says that it is lost, or has said nothing for too long; then it is somebody else's business to
start another one (backend.py). Nothing is asked of it twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence

from edge_worker.backends.base import Answer, BackendFailed, BackendLost, Call, NotReady, ServedModel
from edge_worker.backends.engine_process import messages
from edge_worker.backends.engine_process.messages import Message
from edge_worker.backends.engine_process.spawn import Child, Spawn
from edge_worker.backends.engine_process.stream import MessageStream, open_stream

SOCKET_BYTES = 1 << 20
"""Asked of the system, which may give less (on Linux twice net.core.wmem_max, mostly 416 KiB). A picture that fits is
there before the engine asks for it (desk.py)."""
SILENCE_S = 30
"""Seconds without a sign of life, which comes every second, after which Python's lock is taken to be held for ever:
Python lets go of it every few milliseconds, and the engines do so while they compute."""
CLOSE_S = 5.0
"""Seconds in which an engine process with nothing to do ends its threads, before it is killed."""
KILL_S = 5.0
"""Seconds in which a process that was killed is gone. One that waits inside a driver may never be."""

log = logging.getLogger("edge_worker.engine_process")


class EngineProcess:
    """One of them."""

    def __init__(self, spawn: Spawn, on_models: Callable[[EngineProcess], None]) -> None:
        """`on_models` is called when `models` has changed since it was started."""
        self.models: Sequence[ServedModel] = ()
        self._on_models = on_models
        self._spawn = spawn
        self._child: Child
        self._stream: MessageStream
        self._ending: asyncio.Task[None]
        self._loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unwell: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._open: dict[int, asyncio.Future[Answer]] = {}
        self._numbers = itertools.count(1)
        self._why = ""
        self._silent_s = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_running(self) -> bool:
        """Whether the process is still there."""
        return not self._ending.done()

    # --- its beginning ------------------------------------------------------------------------------------------------

    async def start(self, told: Message) -> None:
        """Until its models are loaded. Raises ValueError for settings that cannot be used, BackendLost when there is no
        process, or no longer."""
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        try:
            with theirs:
                self._child = await self._spawn(theirs)
        except OSError as error:
            ours.close()
            raise BackendLost(f"an engine process cannot be started: {error}") from error
        except BaseException:
            ours.close()
            raise
        self._stream = await open_stream(ours, self._on_message, self._on_end)
        self._ending = asyncio.create_task(self._wait_end())
        try:
            self._stream.send(told)
            await self._loaded
        except BaseException:
            await self.kill()
            raise
        self._watch_silence()

    # --- calls --------------------------------------------------------------------------------------------------------

    def answer(self, asked: Call) -> Coroutine[None, None, Answer]:
        """Raises BadInput, BackendFailed or NotReady once it is awaited."""
        number = next(self._numbers)
        return self._ask(number, messages.call(number, asked))

    def probe(self, model: str) -> Coroutine[None, None, Answer]:
        """Likewise."""
        number = next(self._numbers)
        return self._ask(number, Message(messages.Probe(number, model)))

    async def _ask(self, number: int, message: Message) -> Answer:
        if not self.is_running:
            raise NotReady(self._why)
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._open[number] = answered
        self._stream.send(message)
        try:
            return await answered
        finally:
            if self._open.pop(number, None) is not None:  # whoever asked has gone
                self._stream.send(Message(messages.Cancel(number)))

    # --- what it says -------------------------------------------------------------------------------------------------

    def _on_message(self, message: Message) -> None:
        self._silent_s = 0
        match message.head:
            case messages.Answered() as head:
                if (answered := self._asker(head.call)) is not None:
                    answered.set_result(messages.answer_of(head, message.body))
            case messages.Failed() as head:
                if (answered := self._asker(head.call)) is not None:
                    answered.set_exception(messages.error_of(head))
            case messages.Models(models):
                self.models = models
                if self._loaded.done():
                    self._on_models(self)
                else:
                    self._loaded.set_result(None)
            case messages.Lost(text):
                self._be_unwell(text)
            case messages.Unusable(text) if not self._loaded.done():
                self._loaded.set_exception(ValueError(text))

    def _asker(self, number: int) -> asyncio.Future[Answer] | None:
        """None when whoever asked has gone."""
        answered = self._open.pop(number, None)
        return None if answered is None or answered.done() else answered

    # --- its end ------------------------------------------------------------------------------------------------------

    async def wait_unwell(self) -> str:
        """Why it cannot go on, once it cannot. It may still answer what it was asked."""
        return await asyncio.shield(self._unwell)

    async def close(self) -> None:
        """With no call in flight."""
        self._stream.send(Message(messages.Close()))
        await asyncio.wait((self._ending,), timeout=CLOSE_S)
        await self.kill()

    async def retire(self, grace_s: float) -> None:
        """Lets it answer what it was asked, for so long, and ends it."""
        try:
            if self._open:
                await asyncio.wait(self._open.values(), timeout=grace_s)
        finally:
            await self.kill()

    async def kill(self) -> None:
        """At once; what it was asked fails. Harmless when it has ended."""
        self._strike("was ended by its worker")
        await asyncio.wait((self._ending,), timeout=KILL_S)
        if self.is_running:
            log.error(
                "engine process does not end", extra={"hint": "it waits inside a driver; look at /proc/PID/stack"}
            )

    def _strike(self, why: str) -> None:
        self._why = self._why or why
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()

    def _on_end(self, reason: str) -> None:
        """Nothing more will be heard of it: it has ended, or what it said makes no sense."""
        self._strike(f"said what makes no sense: {reason}" if reason else "")

    async def _wait_end(self) -> None:
        status = await self._child.wait()
        self._why = f"its engine process {self._why or _how_it_ended(status)}"
        if self._timer is not None:
            self._timer.cancel()
        self._stream.close()
        self._be_unwell(self._why)
        if not self._loaded.done():
            self._loaded.set_exception(BackendLost(self._why))
        left, self._open = self._open, {}
        for answered in left.values():
            if not answered.done():
                answered.set_exception(BackendFailed(self._why))

    def _be_unwell(self, why: str) -> None:
        if not self._unwell.done():
            self._unwell.set_result(why)

    def _watch_silence(self) -> None:
        """Counts seconds in which this process ran: after one in which it was stopped, what came is read first."""
        self._timer = asyncio.get_running_loop().call_later(1.0, self._look)

    def _look(self) -> None:
        self._silent_s += 1
        if self._silent_s >= SILENCE_S:
            self._strike(f"said nothing for {SILENCE_S} s")
        else:
            self._watch_silence()


def _how_it_ended(status: int) -> str:
    """For an operator who was not there."""
    if status >= 0:
        return f"ended with status {status}"
    hint = ": a system that is out of memory does that" if -status == signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-status).name}{hint}"
