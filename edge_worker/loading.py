"""A worker's life: its backend loads every model, the log says of each whether it can be served, and then it serves.

The same for a worker behind a tunnel and for one that listens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from edge_worker.backends.base import Backend, ServedModel
from edge_worker.backends.forwarding import Forwarder
from edge_worker.config import ConfigError

log = logging.getLogger("edge_worker.loading")


class WorkUndone(Exception):
    """The worker has drained, and the grace time passed before all was finished; the log has said so."""


async def load_and_serve(
    backend: Backend | Forwarder, stop: asyncio.Event, serve: Callable[[Sequence[ServedModel]], Awaitable[None]]
) -> None:
    """Until `serve` ends; it never begins when told to stop before the models are loaded. Raises ConfigError for
    settings that the backend cannot use, BackendLost when it ends while it loads, and what `serve` raises."""
    models = await _load(backend, stop)
    if models is None:
        log.info("stopped while loading")
        return
    try:
        await serve(models)
    finally:
        await backend.close()
    log.info("stopped")


async def _load(backend: Backend | Forwarder, stop: asyncio.Event) -> Sequence[ServedModel] | None:
    """None when told to stop before they were loaded."""
    starting = asyncio.create_task(backend.start())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        return await starting if starting.done() else None
    except ValueError as error:
        raise ConfigError(str(error)) from error
    finally:
        starting.cancel()
        stopping.cancel()
        await asyncio.wait((starting, stopping))


def announce(models: Sequence[ServedModel]) -> None:
    """A line for each model."""
    for model in models:
        if model.failure:
            log.error("model cannot be served", extra={"model": model.name, "reason": model.failure})
        else:
            log.info("model ready", extra={"model": model.name, "version": model.version, "slots": model.slots})
