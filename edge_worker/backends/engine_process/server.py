"""Inside the engine process: opens the backend that it is told, and answers its worker until that has no more use for
it. It never outlives its worker: where the stream ends, so does the process.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from edge_worker.backends.base import (
    Answer,
    Backend,
    BackendFailed,
    BackendLost,
    BadInput,
    NotReady,
    ServedModel,
    ThreadedBackend,
    Work,
)
from edge_worker.backends.engine_process import messages
from edge_worker.backends.engine_process.desk import Desk, Line
from edge_worker.backends.engine_process.messages import Message, answer, call_of, failure, settings_of
from edge_worker.backends.settings import BackendSettings

ALIVE_S = 1.0
"""Seconds between two signs of life: they come from the event loop, and stop when Python's lock is not let go."""

OpenBackend = Callable[[str, BackendSettings, Callable[[], Line]], Backend]

log = logging.getLogger("edge_worker.engine_process")


class EngineServer:
    """One backend behind one stream."""

    def __init__(self, open_backend: OpenBackend) -> None:
        self._open_backend = open_backend
        self._backend: Backend | None = None
        self._threaded: ThreadedBackend | None = None
        """The same, when its threads take calls themselves."""
        self._desk: Desk
        self._works: dict[int, Work] = {}
        """Calls that its threads have taken, or will."""
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()
        self._is_over = asyncio.Event()

    async def run(self, end: socket.socket) -> None:
        """Until the worker closes the stream, or has died. A model may still be loading on a thread then."""
        self._desk = Desk(end, self._take, self._on_message, lambda _: self._is_over.set())
        self._desk.open()
        self._do(self._say_alive())
        try:
            await self._is_over.wait()
        finally:
            tasks = [*self._calls.values(), *self._others]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._desk.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:  # Any: what a coroutine is sent is nobody's business
        task = asyncio.create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    def _on_message(self, message: Message) -> None:
        match message.head:
            case messages.Ask() as head:
                self._begin(head.call, self._answer(head, message.body))
            case messages.Probe() as head:
                self._begin(head.call, self._probe(head.model))
            case messages.Cancel(number):
                if (task := self._calls.get(number)) is not None:
                    task.cancel()
            case messages.Start() as head:
                self._do(self._serve(head))
            case messages.Close():
                self._do(self._close())
            case head:
                log.error("a message for a worker", extra={"kind": type(head).__name__.lower()})

    # --- calls that its threads take, on whichever thread -------------------------------------------------------------

    def _take(self, message: Message) -> bool:
        """False for what needs the event loop."""
        match message.head:
            case messages.Ask() as head if self._threaded is not None:
                return self._give(self._threaded, head, message.body)
            case messages.Cancel(number) if (work := self._works.get(number)) is not None:
                if work.claim():
                    del self._works[number]
                return True
        return False

    def _give(self, backend: ThreadedBackend, head: messages.Ask, body: messages.Buffer) -> bool:
        number = head.call

        def tell(outcome: Answer | None, error: BaseException | None) -> None:
            self._works.pop(number, None)
            self._desk.send(_reply(number, outcome, error))

        try:
            work = backend.work(call_of(head, body), tell)
        except Exception as error:  # a backend's bug costs one call, as in `_run`
            tell(None, error)
            return True
        if work is None:
            return False
        self._works[number] = work
        work.begin()
        return True

    # --- calls of the event loop --------------------------------------------------------------------------------------

    def _begin(self, number: int, asking: Coroutine[Any, Any, Answer]) -> None:
        task = asyncio.create_task(self._run(number, asking))
        self._calls[number] = task
        task.add_done_callback(lambda _: self._calls.pop(number))

    async def _answer(self, head: messages.Ask, body: messages.Buffer) -> Answer:
        return await self._loaded.answer(call_of(head, body))

    async def _probe(self, model: str) -> Answer:
        return await self._loaded.probe(model)

    @property
    def _loaded(self) -> Backend:
        if self._backend is None:
            raise NotReady("its models are being loaded")
        return self._backend

    async def _run(self, number: int, asking: Coroutine[Any, Any, Answer]) -> None:
        try:
            reply = _reply(number, await asking, None)
        except Exception as error:
            reply = _reply(number, None, error)
        self._desk.send(reply)

    # --- life ---------------------------------------------------------------------------------------------------------

    async def _serve(self, told: messages.Start) -> None:
        """Loads, and watches."""
        try:
            backend = self._open_backend(told.backend, settings_of(told), self._desk.line)
            served = await backend.start()
            gc.collect()
            gc.freeze()  # libraries and models stay: no collection need hold Python's lock to look at them
            self._backend = backend
            if isinstance(backend, ThreadedBackend) and backend.is_threaded:
                self._threaded = backend
                self._desk.share(True)
            self._say_models(served)
            await backend.watch(self._say_models)
        except BackendLost as error:
            self._desk.share(False)  # threads that hang read nothing
            self._desk.send(Message(messages.Lost(str(error))))
        except (ValueError, ImportError) as error:
            self._desk.send(Message(messages.Unusable(str(error))))
        except Exception:  # a backend's bug ends this process, and the worker starts another
            log.exception("backend raised what it must not")
            self._is_over.set()

    def _say_models(self, served: Sequence[ServedModel]) -> None:
        self._desk.send(Message(messages.Models(tuple(served))))

    async def _say_alive(self) -> None:
        while True:
            self._desk.send(Message(messages.Alive()))
            self._desk.poll()
            await asyncio.sleep(ALIVE_S)

    async def _close(self) -> None:
        self._desk.share(False)
        if self._backend is not None:
            await self._backend.close()
        self._is_over.set()


def _reply(number: int, outcome: Answer | None, error: BaseException | None) -> Message:
    """An answer, or why there is none."""
    match error:
        case None:
            assert outcome is not None
            return answer(number, outcome)
        case BadInput() | BackendFailed() | NotReady():
            return failure(number, error)
    log.error("backend raised what it must not", exc_info=error)  # its bug costs one call, not the process
    return failure(number, BackendFailed("the engine failed; the worker's log says why"))
