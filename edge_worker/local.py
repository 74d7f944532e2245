"""Classifies files on this machine with no gateway and no network: the baseline that every other way is compared with.

The backend is the one that a tunnel would ask; one call at a time is made on this thread, with nothing in between.
What is timed is the call: a file is read before its clock starts, and its answer is parsed after the clock has stopped.
A bad file fails alone. Prints nothing: `local_report.py` does.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG

from edge_worker.backends.base import Answer, Backend, BackendFailed, BadInput, Call, DirectBackend, ServedModel
from edge_worker.backends.factory import open_backend
from edge_worker.config import ConfigError, LocalConfig

TOTAL = "total"
"""From the call of the backend to its answer: the steps, and the way to their thread and back where there is one."""


@dataclass(slots=True)
class FileResult:
    """One file, over all rounds."""

    file: Path
    answer: Mapping[str, object] = field(default_factory=dict)
    """The first round's; empty for a file that failed."""
    error: str = ""
    """Why it failed; empty if it did not. It is not tried again then."""
    runs_s: list[Mapping[str, float]] = field(default_factory=list)
    """For each round the seconds by step, TOTAL last."""


@dataclass(frozen=True, slots=True)
class LocalRun:
    """All files."""

    backend: str
    model: ServedModel
    concurrency: int
    files: Sequence[FileResult]
    """In the order given."""
    wall_s: float
    """From the first file's reading to the last answer."""

    @property
    def answers(self) -> int:
        """Answers in all rounds together."""
        return sum(len(one.runs_s) for one in self.files)

    @property
    def images_per_s(self) -> float:
        """Answers by wall time."""
        return self.answers / self.wall_s if self.wall_s > 0 else 0.0


async def run_local(config: LocalConfig) -> LocalRun:
    """Loads, classifies, closes. Raises ConfigError for a backend or a model that cannot be used."""
    try:
        backend = open_backend(config.backend, config.engine)
        models = await backend.start()
    except (ValueError, ImportError) as error:
        raise ConfigError(str(error)) from error
    try:
        model = _chosen(models, config.model)
        for _ in range(config.engine.slots):
            await backend.probe(model.name)  # the decoders and the resize are warm too, not only the network
        return await Classifier(backend, config).run(model)
    except BackendFailed as error:
        raise ConfigError(f"model = {config.model!r}: it does not answer its own sample: {error}") from error
    finally:
        await backend.close()


def _chosen(models: Sequence[ServedModel], name: str) -> ServedModel:
    model = next((model for model in models if model.name == name), None)
    if model is None:
        there = ", ".join(model.name for model in models) or "none"
        raise ConfigError(f"model = {name!r}: is not here; there are: {there}")
    if model.failure:
        raise ConfigError(f"model = {name!r}: cannot be served: {model.failure}")
    return model


class Classifier:
    """Asks one backend for one model, with so many calls at a time."""

    def __init__(self, backend: Backend, config: LocalConfig, clock: Callable[[], float] = time.perf_counter) -> None:
        """`backend` has started."""
        self._backend = backend
        self._config = config
        self._clock = clock
        self._path = f"/inference/{config.model}?top={config.top}"
        self._direct: Callable[[Call], Answer] | None = None
        if config.concurrency == 1 and isinstance(backend, DirectBackend):
            self._direct = backend.direct(config.model)

    async def run(self, model: ServedModel) -> LocalRun:
        """Every round over every file. Raises only what is nobody's mistake but a bug."""
        files = [FileResult(file) for file in self._config.images]
        ahead = (file for _ in range(self._config.repeat) for file in files)
        began = self._clock()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._config.concurrency):
                tasks.create_task(self._take(ahead))
        wall_s = self._clock() - began
        return LocalRun(self._backend.name, model, self._config.concurrency, files, wall_s)

    async def _take(self, ahead: Iterator[FileResult]) -> None:
        """One after the other, from what all of these tasks take from."""
        for result in ahead:
            if not result.error:
                await self._classify(result)
                await asyncio.sleep(0)  # where calls are made on this thread, an interrupt is heard here only

    async def _classify(self, result: FileResult) -> None:
        try:
            body = self._read(result.file)
            call = Call(self._config.model, "POST", self._path, (), body)
            began = self._clock()
            answer = self._direct(call) if self._direct else await self._backend.answer(call)
            total_s = self._clock() - began
        except OSError as error:
            result.error = error.strerror or str(error)
        except (BadInput, BackendFailed) as error:
            result.error = str(error)
        else:
            result.runs_s.append({**answer.durations_s, TOTAL: total_s})
            result.answer = result.answer or _parsed(answer)

    def _read(self, file: Path) -> bytes:
        """Raises OSError or BadInput. Anything but a file is refused unopened: reading a pipe may never end."""
        limit = self._config.max_file_bytes
        about = file.stat()
        if not S_ISREG(about.st_mode):
            raise BadInput("bad_input", "is not a file")
        body = file.read_bytes() if about.st_size <= limit else b""
        if max(about.st_size, len(body)) > limit:
            raise BadInput("payload_too_large", f"is over {limit} bytes (--max-body-bytes)")
        return body


def _parsed(answer: Answer) -> Mapping[str, object]:
    """Backends answer with one JSON object."""
    parsed = json.loads(answer.body)
    assert isinstance(parsed, dict), parsed
    return parsed
