"""A backend for pictures: it keeps each model's way from a request's bytes to labels, around any engine.

How models are loaded is in model_loading.py, how one of them answers in loaded_model.py. An engine that hangs cannot be
stopped: its model is announced as failed, the others go on, and whoever runs this process is told that only a new one
can help. Refuses nothing about admission or deadlines.
"""

from __future__ import annotations

import asyncio
import logging
import queue
from collections.abc import Callable, Sequence
from dataclasses import replace

from edge_worker.backends.base import Answer, BackendLost, BadInput, Call, Changed, NotReady, ServedModel, Tell
from edge_worker.backends.engine import EngineLoader
from edge_worker.backends.huge_pages import use_huge_pages
from edge_worker.backends.image import quiet_decoders
from edge_worker.backends.lanes import Lanes, LoopClock, Source, Work
from edge_worker.backends.loaded_model import BatchedModel, LoadedModel, SingleModel, Steps
from edge_worker.backends.model_loading import LOAD_FAILURES, ModelLoading
from edge_worker.backends.question import Question, read_question
from edge_worker.backends.settings import BackendSettings
from edge_worker.batcher import Clock
from edge_worker.fine_clock import FineClock
from edge_worker.models.registry import FoundModel

MakeSource = Callable[[], Source]

log = logging.getLogger("edge_worker.image")


class ImageBackend:
    """Serves every model of its folders with one engine."""

    def __init__(
        self,
        loader: EngineLoader,
        settings: BackendSettings,
        threads: int,
        make_source: MakeSource = queue.SimpleQueue,
        limit_clock: Clock | None = None,
    ) -> None:
        """`threads` is for one inference. `make_source` is asked, for each model that makes no batches, where its
        threads find calls. `limit_clock` is what a call's limit is measured by; None: the loop's."""
        self.name = loader.name
        self._loading = ModelLoading(loader, settings, threads)
        self._limit_s = settings.engine_limit_s
        self._make_source = make_source
        self._limit_clock = limit_clock or LoopClock()
        self._batch_clock: FineClock | None = None
        self._served: dict[str, ServedModel] = {}
        self._models: dict[str, LoadedModel] = {}
        self._hanging: dict[str, str] = {}
        """By model, what is said of its engine."""
        self._lost: asyncio.Future[str]
        """Why only a new process can help."""
        self._changed: Changed = _nobody

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> Sequence[ServedModel]:
        """Finds, verifies, loads and warms up. Raises SpecError when a model dir itself cannot be read."""
        quiet_decoders()
        self._lost = asyncio.get_running_loop().create_future()
        for found, outcome in await asyncio.to_thread(self._load_all):
            if isinstance(outcome, Steps):
                self._serve(found, outcome)
            else:
                self._served[found.name] = outcome
        return list(self._served.values())

    def _load_all(self) -> list[tuple[FoundModel, Steps | ServedModel]]:
        loaded = [(found, self._load(found)) for found in self._loading.find()]
        use_huge_pages()  # before the first call, and once for all: what is in use then stays where it is
        return loaded

    def _load(self, found: FoundModel) -> Steps | ServedModel:
        """The steps of a model that can be served; else what is announced of it."""
        if found.spec is None:
            return self._loading.broken(found)
        try:
            return self._loading.load(found)
        except LOAD_FAILURES as error:
            return self._loading.unloadable(found, error)

    def _serve(self, found: FoundModel, steps: Steps) -> None:
        self._served[found.name] = self._loading.served(steps.spec, len(found.labels))
        rule = self._loading.rule(steps.spec)
        if rule.is_on:
            self._batch_clock = self._batch_clock or FineClock(asyncio.get_running_loop())
            self._models[found.name] = BatchedModel(steps, self._make_lanes, rule, self._batch_clock)
        else:
            self._models[found.name] = SingleModel(steps, self._make_lanes, self._make_source())

    def _make_lanes(self, model: str, work: str, count: int, source: Source | None = None, /) -> Lanes:
        name = f"{model}-{work}"
        return Lanes(name, count, self._limit_s, self._limit_clock, lambda: self._give_up(model), source)

    async def close(self) -> None:
        """Waits for the threads and lets the networks go."""
        models, self._models = self._models, {}
        for model in models.values():
            await model.close()
        if self._batch_clock is not None:
            self._batch_clock.close()

    # --- calls --------------------------------------------------------------------------------------------------------

    async def answer(self, call: Call) -> Answer:
        """Raises BadInput, BackendFailed or NotReady."""
        model = self._ready(call.model)
        return await model.run(call.body, read_question(call, model.spec), call.deadline_at)

    @property
    def is_threaded(self) -> bool:
        """See `ThreadedBackend`."""
        return all(isinstance(model, SingleModel) for model in self._models.values())

    def work(self, call: Call, tell: Tell) -> Work | None:
        """See `ThreadedBackend`."""
        model = self._ready(call.model)
        return model.work(call.body, read_question(call, model.spec), tell)

    async def probe(self, model: str) -> Answer:
        """A picture of the input's size, made here, goes the whole way."""
        loaded = self._ready(model)
        return await loaded.run(loaded.sample, Question(), None)

    def direct(self, model: str) -> Callable[[Call], Answer] | None:
        """See `DirectBackend`. Nothing watches how long such a call takes."""
        loaded = self._ready(model)
        if not isinstance(loaded, SingleModel):
            return None
        return lambda call: loaded.run_here(call.body, read_question(call, loaded.spec))

    def _ready(self, name: str) -> LoadedModel:
        model = self._models.get(name)
        if model is not None:
            return model
        if name in self._hanging:
            raise NotReady(f"{name}: {self._hanging[name]}")
        raise BadInput("unknown_model", f"this worker does not serve the model {name!r}")

    # --- engines that hang --------------------------------------------------------------------------------------------

    async def watch(self, changed: Changed) -> None:
        """Raises BackendLost once an engine hangs. `changed` is called for each that does, also after that."""
        self._changed = changed
        raise BackendLost(await self._lost)

    def _give_up(self, name: str) -> None:
        """Takes the model out of service, from one moment to the next."""
        if self._models.pop(name, None) is None:  # another of its lanes was first, or the worker is leaving
            return
        reason = f"its engine did not end within {self._limit_s:g} s and is being replaced"
        log.error("engine hangs", extra={"model": name, "limit_s": self._limit_s})
        self._hanging[name] = reason
        self._served[name] = replace(self._served[name], failure=reason)
        self._changed(list(self._served.values()))
        if not self._lost.done():
            self._lost.set_result(f"{name}: {reason}")


def _nobody(_models: Sequence[ServedModel]) -> None:
    """Nobody asked to be told."""
