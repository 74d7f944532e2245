"""The worker, put together: one backend, its slots, and a tunnel to each gateway. The one file that knows everyone.

Starts the backend first: a worker dials when it can answer. Stops by draining: told once it finishes what it has, told
twice it goes at once.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import random
import ssl
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from edge_worker.admission import Admission
from edge_worker.backends.base import Backend, ServedModel
from edge_worker.backends.factory import open_backend
from edge_worker.backoff import Backoff
from edge_worker.config import ConfigError, WorkerConfig
from edge_worker.dialer import tls_context
from edge_worker.exchange_runner import ExchangeRunner
from edge_worker.link import GatewayLink, Identity
from wire.frames import Load
from wire.limits import Limits

HOUSEKEEPING_S = 1.0
"""Seconds between looks at the token file and the load."""

MAX_TOKEN_FILE_BYTES = 16 << 10
"""A longer file is no token."""

log = logging.getLogger("edge_worker.app")


class TokenSource:
    """Where the token comes from, and whether it changed."""

    def __init__(self, token: str | None, file: Path | None) -> None:
        self._token = token
        self._file = file
        self._last = token or ""

    def read(self) -> str:
        """The token as it is now. Raises OSError when the file cannot be read or is no token."""
        if self._file is None:
            assert self._token is not None
            return self._token
        text = self._file.read_bytes()[:MAX_TOKEN_FILE_BYTES].decode("ascii", "replace").strip()
        if not text or not text.isprintable() or " " in text:
            raise OSError(f"{self._file} does not hold one token")
        self._last = text
        return text

    def read_if_changed(self) -> str | None:
        """The token when it is another than the last one read; None otherwise, also while it cannot be read."""
        before = self._last
        try:
            now = self.read()
        except OSError:
            return None  # half written, or being replaced; the next look will tell
        return now if now != before else None


class Worker:
    """One worker process."""

    def __init__(self, config: WorkerConfig) -> None:
        """Raises ConfigError for certificates and backends that cannot be used."""
        self._config = config
        self._tokens = TokenSource(config.token, config.token_file)
        try:
            self._tls = tls_context(config.ca_file, config.certificate_file, config.key_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"ca-file, certificate-file or key-file: cannot be used: {error}") from error
        try:
            self._backend: Backend = open_backend(config.backend, config.engine)
        except (ValueError, ImportError) as error:
            raise ConfigError(str(error)) from error
        self._identity = Identity(
            worker=config.name,
            generation=int(time.time() * 1000),
            software=f"edge-worker/{_version()}",
            labels={"python": platform.python_version(), "backend": self._backend.name, **config.labels},
        )
        self._admissions: dict[str, Admission] = {}
        self._links: list[GatewayLink] = []
        self._stop = asyncio.Event()
        self._last_load: Load | None = None

    async def run(self) -> None:
        """Serves until `stop`. Loads models, dials, drains."""
        models = await self._backend.start()
        self._announce(models)
        self._admissions = {model.name: Admission(model.slots) for model in models if not model.failure}
        runner = ExchangeRunner(self._backend, self._admissions)
        self._links = [self._link(url, models, runner) for url in self._config.gateways]
        try:
            async with asyncio.TaskGroup() as tasks:
                dialling = [tasks.create_task(link.run()) for link in self._links]
                housekeeping = tasks.create_task(self._keep_house())
                await self._stop.wait()
                log.info("draining", extra={"grace_s": self._config.drain_grace_s})
                await asyncio.gather(*(self._drain(link) for link in self._links))
                await asyncio.wait(dialling)
                housekeeping.cancel()
        finally:
            await self._backend.close()
        log.info("stopped")

    def stop(self) -> None:
        """Begins to drain."""
        self._stop.set()

    def _announce(self, models: Sequence[ServedModel]) -> None:
        for model in models:
            if model.failure:
                log.error("model cannot be served", extra={"model": model.name, "reason": model.failure})
            else:
                log.info("model ready", extra={"model": model.name, "version": model.version, "slots": model.slots})

    def _link(self, url: str, models: Sequence[ServedModel], runner: ExchangeRunner) -> GatewayLink:
        config = self._config
        return GatewayLink(
            url,
            self._identity,
            models,
            runner,
            read_token=self._tokens.read,
            tls=self._tls,
            limits=Limits(),
            max_body_bytes=config.max_body_bytes,
            backoff=Backoff(random.Random()),
        )

    async def _drain(self, link: GatewayLink) -> None:
        await link.drain(self._config.drain_grace_s, "the worker is shutting down")

    async def _keep_house(self) -> None:
        """Renews the token and reports the load; ends by cancellation."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            token = self._tokens.read_if_changed()
            load = self._load()
            for link in self._links:
                if token is not None:
                    link.token_changed(token)
                if load is not None:
                    link.report_load(load)

    def _load(self) -> Load | None:
        """The load, when it is another than the last one told."""
        models = {name: {"running": a.running, "waiting": a.waiting} for name, a in self._admissions.items()}
        load = Load(
            running=sum(admission.running for admission in self._admissions.values()),
            waiting=sum(admission.waiting for admission in self._admissions.values()),
            details={"models": models},
        )
        if load == self._last_load:
            return None
        self._last_load = load
        return load


def _version() -> str:
    try:
        return metadata.version("edge-inference-gateway")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
