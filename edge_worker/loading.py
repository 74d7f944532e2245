"""How a worker begins: its backend loads every model, and the log says of each whether it can be served.

The same for a worker behind a tunnel and for one that listens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from edge_worker.backends.base import Backend, ServedModel
from edge_worker.backends.forwarding import Forwarder
from edge_worker.config import ConfigError

log = logging.getLogger("edge_worker.loading")


async def load_models(backend: Backend | Forwarder, stop: asyncio.Event) -> Sequence[ServedModel] | None:
    """None when told to stop before they were loaded: a thread may still be at it then. Raises ConfigError for models
    that cannot be looked for."""
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
