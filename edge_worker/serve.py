"""The worker as an HTTP server, put together: one backend, its slots, and a port. No gateway, no tunnel, no token.

What computes and what stands in front of it are the same as behind a tunnel, so that the two can be compared. Stops by
draining, as there.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections.abc import Sequence
from pathlib import Path

from edge_worker.admission import Admission, admit
from edge_worker.backends.base import Backend, ServedModel
from edge_worker.backends.factory import open_apart
from edge_worker.config import CannotListen, ConfigError, ServeConfig
from edge_worker.exchange_runner import ExchangeRunner
from edge_worker.health import Health
from edge_worker.health_socket import health_of, health_socket
from edge_worker.http.exchanges import Exchanges
from edge_worker.http.inference import Inference
from edge_worker.http.readiness import Readiness
from edge_worker.http.server import HttpServer, build_app, listen
from edge_worker.loading import WorkUndone, announce, load_and_serve

log = logging.getLogger("edge_worker.serve")


class WorkerServer:
    """One process that listens."""

    def __init__(self, config: ServeConfig) -> None:
        """Raises ConfigError for certificates and backends that cannot be used."""
        self._config = config
        try:
            self._tls = _tls_context(config.certificate_file, config.key_file, config.client_ca_file)
            self._backend: Backend = open_apart(config.backend, config.engine, config.log_format, config.log_level)
        except (ValueError, ImportError) as error:
            raise ConfigError(str(error)) from error
        self._readiness: Readiness | None = None
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serves until `stop`: loads models, listens, drains. Raises ConfigError for models that cannot be used,
        CannotListen, BackendLost when the backend ends while it loads, WorkUndone."""
        async with health_socket(self._config.health_socket, self._health):
            await load_and_serve(self._backend, self._stop, self._serve)

    def stop(self) -> None:
        """Begins to drain."""
        self._stop.set()

    async def _serve(self, models: Sequence[ServedModel]) -> None:
        announce(models)
        if all(model.failure for model in models):
            raise ConfigError("model: none can be served; the reasons are above")
        admissions: dict[str, Admission] = {}
        admit(admissions, models)
        runner = ExchangeRunner(self._backend, admissions)
        readiness = Readiness(runner, models)
        inference = Inference(runner, models, self._config.max_body_bytes)
        exchanges = Exchanges(inference, runner, models)
        server = await self._listen(inference, readiness, exchanges)
        self._readiness = readiness

        def changed(models: Sequence[ServedModel]) -> None:
            admit(admissions, models)
            readiness.update(models)
            inference.update(models)
            exchanges.update(models)

        try:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._backend.watch(changed))
                self._say_where(server.port)
                await self._stop.wait()
                log.info("draining", extra={"grace_s": self._config.drain_grace_s})
                undone = await inference.drain(self._config.drain_grace_s)
                watching.cancel()
        finally:
            await server.close()
        if undone:
            log.warning("left with work undone", extra={"requests": undone})
            raise WorkUndone

    async def _health(self) -> Health:
        """As GET /readyz has it."""
        if self._readiness is None:
            return Health(False, "loading models")
        if self._stop.is_set():
            return Health(False, "draining")
        return health_of(await self._readiness.states())

    async def _listen(self, inference: Inference, readiness: Readiness, exchanges: Exchanges) -> HttpServer:
        host, port = self._config.host, self._config.port
        try:
            return await listen(build_app(inference, readiness, exchanges), host, port, self._tls)
        except OSError as error:
            raise CannotListen(f"port = {port}: cannot listen on {host}: {error.strerror or error}") from error

    def _say_where(self, port: int) -> None:
        scheme = "http" if self._tls is None else "https"
        log.info("serving", extra={"scheme": scheme, "host": self._config.host, "port": port})
        if not _is_loopback(self._config.host) and self._config.client_ca_file is None:
            log.warning("no authentication", extra={"hint": f"whoever can reach port {port} may use every model"})


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls_context(
    certificate_file: Path | None, key_file: Path | None, client_ca_file: Path | None
) -> ssl.SSLContext | None:
    """None without a certificate. Raises ValueError that names the option."""
    if certificate_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client could make the server redo its expensive half at will
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate_file, key_file, password=_refuse_to_ask)
    except (ssl.SSLError, OSError) as error:
        where = f"certificate-file = {certificate_file}" + (f", key-file = {key_file}" if key_file else "")
        raise ValueError(f"{where}: must be a certificate and its key in PEM: {error}") from error
    if client_ca_file is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(client_ca_file)
        except (ssl.SSLError, OSError) as error:
            raise ValueError(f"client-ca-file = {client_ca_file}: must be certificates in PEM: {error}") from error
    return context


def _refuse_to_ask() -> str:
    """Without this, OpenSSL asks the terminal for the passphrase and the server hangs at its start."""
    raise ValueError("key-file: is encrypted, and there is nobody to ask for its passphrase")
