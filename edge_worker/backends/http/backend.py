"""The `http` backend: every exchange goes to the server of its service, and a server that is down is told at once.

Looks at each server before the worker dials, and again and again afterwards: with a request of its health path, or
by connecting where it has none. A service whose server does not answer is announced as failed, with the reason.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from edge_worker.backends.base import BackendFailed, Changed, NotReady, ServedModel
from edge_worker.backends.forwarding import Exchange
from edge_worker.backends.http.address import Upstream, UpstreamSettings
from edge_worker.backends.http.checkup import Checkup
from edge_worker.backends.http.connection import Stale
from edge_worker.backends.http.head import encode_request, is_upgrade
from edge_worker.backends.http.pool import Pool
from wire.forwarding import IDEMPOTENT

CHECK_S = 2.0
"""Seconds between two looks at a server."""

CHECK_TIMEOUT_S = 5.0
"""Seconds that a health path may take."""

VERSION = "1"


@dataclass(slots=True)
class _Service:
    """One service and what is known of its server."""

    upstream: Upstream
    pool: Pool
    model: ServedModel
    look_now: asyncio.Event = field(default_factory=asyncio.Event)


class HttpBackend:
    """Fits `Forwarder`."""

    name = "http"

    def __init__(self, settings: UpstreamSettings) -> None:
        """Raises ValueError for a file of authorities that cannot be used, and for two servers of one service."""
        self._settings = settings
        try:
            tls = ssl.create_default_context(cafile=settings.ca_file)
        except OSError as error:
            raise ValueError(f"upstream-ca-file = {settings.ca_file}: must be certificates in PEM: {error}") from error
        self._services = {upstream.service: self._service(upstream, tls) for upstream in settings.upstreams}
        if len(self._services) < len(settings.upstreams):
            raise ValueError("upstream: each needs a name of its own; give NAME=URL")

    def _service(self, upstream: Upstream, tls: ssl.SSLContext) -> _Service:
        # "service" tells dispatch that these jobs may last, and need no slow start
        metadata = {"engine": self.name, "service": True, "upstream": upstream.url, "health": self._settings.health}
        model = ServedModel(upstream.service, VERSION, self._settings.slots, metadata=metadata)
        return _Service(upstream, Pool(upstream, tls, self._settings.slots), model)

    async def start(self) -> Sequence[ServedModel]:
        """See `Forwarder`."""
        for service in self._services.values():
            service.model = replace(service.model, failure=await self._failure(service))
        return self._models()

    async def forward(self, exchange: Exchange) -> None:
        """See `Forwarder`."""
        service = self._services[exchange.service]
        head = encode_request(exchange, service.upstream.authority)
        upgrades = is_upgrade(exchange)
        is_safe_twice = exchange.method in IDEMPOTENT and exchange.body_bytes == 0 and not upgrades
        try:
            connection = await service.pool.take(is_safe_twice=is_safe_twice)
            try:
                await connection.carry(exchange, head, is_upgrade=upgrades)
            except Stale as error:
                if not is_safe_twice:
                    raise BackendFailed(str(error)) from error
                connection = await service.pool.connect()
                await connection.carry(exchange, head)
            service.pool.give_back(connection)
        except NotReady:
            service.look_now.set()  # every other exchange would find the same
            raise

    async def probe(self, service: str) -> None:
        """See `Forwarder`."""
        failure = await self._failure(self._services[service])
        if failure:
            raise BackendFailed(failure)

    async def watch(self, changed: Changed) -> None:
        """See `Forwarder`."""
        async with asyncio.TaskGroup() as tasks:
            for service in self._services.values():
                tasks.create_task(self._watch(service, changed))

    async def close(self) -> None:
        """See `Forwarder`."""
        for service in self._services.values():
            service.pool.close()

    async def _watch(self, service: _Service, changed: Changed) -> None:
        while True:  # ends by cancellation
            try:
                async with asyncio.timeout(CHECK_S):
                    await service.look_now.wait()
            except TimeoutError:
                pass
            service.look_now.clear()
            service.pool.close_idle()
            failure = await self._failure(service)
            if failure != service.model.failure:
                service.model = replace(service.model, failure=failure)
                changed(self._models())

    async def _failure(self, service: _Service) -> str:
        """Why the server cannot be used now; empty when it can."""
        try:
            connection = await service.pool.connect()
            try:
                if self._settings.health:
                    checkup = Checkup(service.upstream.service, self._settings.health)
                    async with asyncio.timeout(CHECK_TIMEOUT_S):
                        await connection.carry(checkup, encode_request(checkup, service.upstream.authority))
                    return checkup.failure
            finally:
                connection.close()
        except TimeoutError:
            return f"{service.upstream.url}{self._settings.health} does not answer within {CHECK_TIMEOUT_S:g} s"
        except (NotReady, BackendFailed) as error:
            return str(error)
        return ""

    def _models(self) -> Sequence[ServedModel]:
        return [service.model for service in self._services.values()]
