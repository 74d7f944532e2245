"""The worker, put together: one backend, its slots, and a tunnel to each gateway. The one file that knows everyone.

Starts the backend first: a worker dials when it can answer. Stops by draining: told once it finishes what it has, told
twice it goes at once.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_worker.admission import Admission, admit
from edge_worker.backends.base import Backend, ServedModel
from edge_worker.backends.factory import open_apart, open_forwarder
from edge_worker.backends.forwarding import Forwarder
from edge_worker.backoff import Backoff
from edge_worker.config import ConfigError, WorkerConfig, is_token
from edge_worker.dialer import tls_context
from edge_worker.exchange_runner import ExchangeRunner
from edge_worker.forward_runner import ForwardRunner
from edge_worker.health import Health
from edge_worker.health_socket import health_of, health_socket
from edge_worker.http.readiness import Readiness
from edge_worker.link import GatewayLink, Identity
from edge_worker.loading import WorkUndone, announce, load_and_serve
from edge_worker.loop_lag import LoopLag
from edge_worker.version import software
from wire.frames import Load
from wire.limits import MAX_TOKEN_BYTES, Limits

HOUSEKEEPING_S = 1.0
"""Seconds between looks at the token file and the load."""

log = logging.getLogger("edge_worker.app")


class TokenSource:
    """Where the token comes from."""

    def __init__(self, token: str | None, file: Path | None) -> None:
        """One of the two; the file wins."""
        self._token = token
        self._file = file

    def read(self) -> str:
        """The token as it is now. Raises OSError when the file cannot be read or is no token."""
        if self._file is None:
            assert self._token is not None
            return self._token
        with self._file.open("rb") as file:
            text = file.read(MAX_TOKEN_BYTES + 2).decode("ascii", "replace").strip()
        if not is_token(text):
            raise OSError(f"{self._file} does not hold one token")
        return text

    def read_if_whole(self) -> str | None:
        """The token; None while the file is half written or being replaced: the next look will tell."""
        try:
            return self.read()
        except OSError:
            return None


class Worker:
    """One worker process."""

    def __init__(self, config: WorkerConfig) -> None:
        """Raises ConfigError for certificates and backends that cannot be used."""
        self._config = config
        self._tokens = TokenSource(config.token, config.token_file)
        try:
            self._tls = tls_context(config.ca_file, config.certificate_file, config.key_file)
            self._backend: Backend | Forwarder = (
                open_forwarder(config.upstream)
                if config.backend == "http"
                else open_apart(config.backend, config.engine, config.log_format, config.log_level)
            )
        except (ValueError, ImportError) as error:
            raise ConfigError(str(error)) from error
        self._identity = Identity(
            worker=config.name,
            generation=int(time.time() * 1000),
            software=software(),
            labels={"python": platform.python_version(), "backend": self._backend.name, **config.labels},
        )
        self._admissions: dict[str, Admission] = {}
        self._links: list[GatewayLink] = []
        self._readiness: Readiness | ForwardRunner | None = None
        self._lag = LoopLag()
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serves until `stop`: loads models, dials, drains. Raises ConfigError for settings that the backend cannot
        use, CannotListen for the health socket, BackendLost when the backend ends while it loads, WorkUndone."""
        async with health_socket(self._config.health_socket, self._health):
            await load_and_serve(self._backend, self._stop, self._serve)

    def stop(self) -> None:
        """Begins to drain."""
        self._stop.set()

    async def _serve(self, models: Sequence[ServedModel]) -> None:
        self._announce(models)
        self._identity = replace(self._identity, labels={**_devices(models), **self._identity.labels})
        runner = self._make_runner(models)
        self._links = [self._link(url, models, runner) for url in self._config.gateways]
        async with asyncio.TaskGroup() as tasks:
            dialling = [tasks.create_task(link.run()) for link in self._links]
            beside = [
                tasks.create_task(self._keep_house()),
                tasks.create_task(self._lag.run()),
                tasks.create_task(self._backend.watch(self._changed)),
            ]
            await self._stop.wait()
            log.info("draining", extra={"grace_s": self._config.drain_grace_s})
            undone = await asyncio.gather(*(self._drain(link) for link in self._links))
            await asyncio.wait(dialling)
            for task in beside:
                task.cancel()
        if any(undone):
            raise WorkUndone

    def _make_runner(self, models: Sequence[ServedModel]) -> ExchangeRunner | ForwardRunner:
        """With it comes who can tell whether its models are ready."""
        if isinstance(self._backend, Forwarder):  # a server that is down may come up
            self._admissions = {model.name: Admission(model.slots) for model in models}
            forwarding = self._readiness = ForwardRunner(self._backend, self._admissions)
            forwarding.update(models)
            return forwarding
        admit(self._admissions, models)
        runner = ExchangeRunner(self._backend, self._admissions)
        self._readiness = Readiness(runner, models)
        return runner

    def _changed(self, models: Sequence[ServedModel]) -> None:
        if isinstance(self._backend, Forwarder):  # the others have said it themselves, with more to say
            announce(models)
        else:
            admit(self._admissions, models)
        if self._readiness is not None:
            self._readiness.update(models)
        for link in self._links:
            link.update_models(models)

    def _announce(self, models: Sequence[ServedModel]) -> None:
        """Failed models are told to the gateway too, and a worker that has no other stays connected: its operators see
        why in the gateway's view, where they look, and not only in this log."""
        announce(models)
        if all(model.failure for model in models):
            log.error("no model can be served", extra={"hint": "connecting all the same, to show the reasons"})

    def _link(self, url: str, models: Sequence[ServedModel], runner: ExchangeRunner | ForwardRunner) -> GatewayLink:
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

    async def _health(self) -> Health:
        if self._readiness is None:
            return Health(False, "loading models")
        if self._stop.is_set():
            return Health(False, "draining")
        up = sum(link.is_up for link in self._links)
        if not up:
            return Health(False, f"no tunnel is open to {', '.join(link.url for link in self._links)}")
        return health_of(await self._readiness.states(), f"{up} of {len(self._links)} tunnels open")

    async def _drain(self, link: GatewayLink) -> int:
        return await link.drain(self._config.drain_grace_s, "the worker is shutting down")

    async def _keep_house(self) -> None:
        """Shows each link the token and the load as they are now; what is no news is not sent. Ends by cancellation."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            token, load = self._tokens.read_if_whole(), self._load()
            for link in self._links:
                if token is not None:
                    link.token_is(token)
                link.report_load(load)

    def _load(self) -> Load:
        models = {name: {"running": a.running, "waiting": a.waiting} for name, a in self._admissions.items()}
        return Load(
            running=sum(admission.running for admission in self._admissions.values()),
            waiting=sum(admission.waiting for admission in self._admissions.values()),
            details={"models": models, "loop_lag_p99_ms": self._lag.percentile_ms(99)},
        )


def _devices(models: Sequence[ServedModel]) -> dict[str, str]:
    """Where it computes, among the labels that operators see beside the worker's name; empty if no engine says."""
    told = ("device", "device_name", "no_gpu")
    return {name: str(model.metadata[name]) for model in models for name in told if name in model.metadata}
