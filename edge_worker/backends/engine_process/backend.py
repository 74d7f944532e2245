"""A backend whose engine is in another process: started with the worker, and replaced whenever it is unwell.

A new engine process is loaded before the old one is ended, so that what an engine that hangs can still do, its other
models and what other threads have begun, goes on meanwhile. Knows no engine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import replace

from edge_worker.backends.base import Answer, BackendLost, Call, Changed, ServedModel
from edge_worker.backends.engine_process.messages import Message
from edge_worker.backends.engine_process.process import EngineProcess
from edge_worker.backends.engine_process.spawn import Spawn
from edge_worker.backoff import Backoff

RELOAD_LIMIT_S = 600.0
"""Seconds in which a new engine process has every model loaded and warm; engines that compile each size of batch may
need minutes."""

log = logging.getLogger("edge_worker.engine_process")


class EngineProcessBackend:
    """Fits `base.Backend`."""

    def __init__(
        self,
        name: str,
        told: Message,
        spawn: Spawn,
        grace_s: float,
        backoff: Backoff,
    ) -> None:
        """`told` is every engine process's first message. An old one has `grace_s` for what it was asked."""
        self.name = name
        self._told = told
        self._spawn = spawn
        self._grace_s = grace_s
        self._backoff = backoff
        self._engine: EngineProcess
        self._sound: frozenset[str] = frozenset()
        """The models that could be served at first."""
        self._changed: Changed = _nobody

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> Sequence[ServedModel]:
        """Raises ValueError for settings that cannot be used, BackendLost."""
        self._engine = await self._launch()
        self._sound = frozenset(model.name for model in self._engine.models if not model.failure)
        return self._engine.models

    async def watch(self, changed: Changed) -> None:
        """Replaces each engine process that is unwell, until cancelled."""
        self._changed = changed
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as retiring:
            while True:
                old, began = self._engine, loop.time()
                reason = await old.wait_unwell()
                self._backoff.connection_lived(loop.time() - began)
                log.error("engine process is unwell", extra={"reason": reason})
                self._engine = await self._replaced(old, reason)
                log.info("engine process replaced")
                changed(self._engine.models)
                retiring.create_task(old.retire(self._grace_s))

    async def close(self) -> None:
        """Ends the engine process."""
        await self._engine.close()

    async def _replaced(self, old: EngineProcess, reason: str) -> EngineProcess:
        """A new engine process, however long that takes."""
        has_company = old.is_running
        while True:
            if not has_company:
                self._changed([_failed(model, f"{reason}; another one is being started") for model in old.models])
            await asyncio.sleep(self._backoff.next_delay_s())
            try:
                async with asyncio.timeout(RELOAD_LIMIT_S):
                    new = await self._launch()
            except TimeoutError:
                reason = f"a new engine process has not loaded its models within {RELOAD_LIMIT_S:g} s"
            except (BackendLost, ValueError) as error:
                reason = f"a new engine process cannot serve: {error}"
            else:
                if not (has_company and self._is_worse(new)):
                    return new
                reason = "a new engine process cannot load its models beside the old one"
                await new.kill()
            log.error("engine process is not replaced", extra={"reason": reason})
            await old.kill()  # it may have what the new one needs: a GPU's memory
            has_company = False

    async def _launch(self) -> EngineProcess:
        """Raises ValueError, BackendLost."""
        engine = EngineProcess(self._spawn, self._on_models)
        await engine.start(self._told)
        return engine

    def _is_worse(self, engine: EngineProcess) -> bool:
        return any(model.failure and model.name in self._sound for model in engine.models)

    def _on_models(self, engine: EngineProcess) -> None:
        if engine is self._engine:
            self._changed(engine.models)

    # --- calls --------------------------------------------------------------------------------------------------------

    def answer(self, call: Call) -> Coroutine[None, None, Answer]:
        """Raises BadInput, BackendFailed or NotReady once it is awaited."""
        return self._engine.answer(call)

    def probe(self, model: str) -> Coroutine[None, None, Answer]:
        """Likewise."""
        return self._engine.probe(model)


def _failed(model: ServedModel, reason: str) -> ServedModel:
    return model if model.failure else replace(model, failure=reason)


def _nobody(_models: Sequence[ServedModel]) -> None:
    """Nobody asked to be told."""
