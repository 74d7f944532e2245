"""The gateway, put together: the one file that knows every part.

Reads files first and opens ports last, so that a mistake in the configuration is told before anyone can connect.
Leaves by draining: no new work, workers told, what is in flight finished, then goodbye.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Sequence

import structlog
from aiohttp import web

from gateway.auth import Authenticator
from gateway.config import Admin, Config, Listen
from gateway.direct.connection import Address
from gateway.direct.watch import DirectWorkers, Entry, Heartbeat
from gateway.dispatch.dispatcher import Dispatcher
from gateway.http.routes import build_admin_app, build_app
from gateway.http.server import HttpServer, serve
from gateway.metrics import Metrics
from gateway.tls import ServerTls
from gateway.tunnel.ports import TunnelSettings
from gateway.tunnel.server import TunnelServer
from gateway.watch import Reloadable, Watcher
from wire.limits import Limits

GOODBYE_S = 3.0
"""Seconds for closing tunnels and connections once nothing is in flight."""

FAREWELL_S = 0.25
"""Seconds between the end of listening and of serving: who connected at the last moment has sent a request by then, and
is told to go elsewhere rather than cut off."""

PLAIN_HINT = (
    "tokens and images cross the network for all on it to read; where a proxy on this machine has the certificate, set "
    "listen.host = 127.0.0.1"
)
OPEN_ADMIN_HINT = "whoever can reach the admin port sees every worker and all metrics"


class CannotListen(Exception):
    """A port cannot be had; the text names the setting."""


class Gateway:
    """One gateway process."""

    def __init__(self, config: Config) -> None:
        """Reads keys and certificates. Raises FileError for one that cannot be used, naming its field."""
        self._config = config
        self._metrics = Metrics()
        self._dispatcher = Dispatcher(config.dispatch, observer=self._metrics)
        self._authenticator = Authenticator(
            config.auth.jwks,
            config.auth.revocations,
            issuer=config.auth.issuer,
            audience=config.auth.audience,
            leeway_s=config.auth.leeway_s,
        )
        self._tls = _server_tls(config)
        self._tunnels = TunnelServer(self._dispatcher, self._authenticator, self._metrics, _tunnel_settings(config))
        self._direct = DirectWorkers(_entries(config), self._dispatcher, _heartbeat(config))
        self._stop = asyncio.Event()
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger()

    async def run(self) -> bool:
        """Serves until `stop`, then drains; False if the grace passed with work undone. Raises CannotListen."""
        servers = await self._open()
        watched: Sequence[Reloadable] = [self._authenticator, *([self._tls] if self._tls else [])]
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(one.run()) for one in (self._dispatcher, Watcher(watched), self._direct)
                ]
                await self._stop.wait()
                is_done = await self._drain(servers)
                for task in background:
                    task.cancel()
        finally:
            for server in servers:
                await server.close()
        self._log.info("stopped")
        return is_done

    def stop(self) -> None:
        """Begins to drain."""
        self._stop.set()

    async def _open(self) -> list[HttpServer]:
        config = self._config
        app = build_app(self._dispatcher, self._authenticator, self._metrics, config, tunnel=self._tunnels.handle)
        servers = [await self._listen("listen", app, config.listen, self._tls.context if self._tls else None)]
        if config.admin.enabled:
            admin = build_admin_app(self._dispatcher, self._metrics, config)
            try:
                servers.append(await self._listen("admin", admin, config.admin, None))
            except CannotListen:
                await servers[0].close()
                raise
        self._log.info(
            "serving",
            host=config.listen.host,
            port=servers[0].port,
            tls=self._tls is not None,
            admin_port=servers[1].port if config.admin.enabled else None,
            policy=config.dispatch.policy,
        )
        self._warn_of_networks()
        return servers

    def _warn_of_networks(self) -> None:
        """What others than this machine could read, in the log of whoever has not meant it."""
        listen, admin = self._config.listen, self._config.admin
        if self._tls is None and not _is_loopback(listen.host):
            self._log.warning("no encryption", setting="tls.certificate", hint=PLAIN_HINT)
        if admin.enabled and not _is_loopback(admin.host):
            self._log.warning("no authentication", setting="admin.host", hint=OPEN_ADMIN_HINT)

    async def _drain(self, servers: Sequence[HttpServer]) -> bool:
        grace_s = self._config.drain.grace_s
        self._log.info("draining", in_flight=self._dispatcher.in_flight, grace_s=grace_s)
        self._tunnels.drain(grace_s)
        is_done = await self._dispatcher.drain(grace_s)
        if not is_done:
            self._log.warning("left with work undone", in_flight=self._dispatcher.in_flight)
        for server in servers:
            server.stop_listening()
        await asyncio.sleep(FAREWELL_S)
        await self._tunnels.close(GOODBYE_S)
        return is_done

    async def _listen(
        self, section: str, app: web.Application, where: Listen | Admin, context: ssl.SSLContext | None
    ) -> HttpServer:
        limits, metrics = self._config.limits, self._metrics
        try:
            return await serve(
                app, where.host, where.port, limits=limits, metrics=metrics, ssl_context=context, grace_s=GOODBYE_S
            )
        except OSError as error:
            raise CannotListen(
                f"{section}.host = {where.host}, {section}.port = {where.port}: {error.strerror or error}"
            ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _server_tls(config: Config) -> ServerTls | None:
    tls = config.tls
    if tls.certificate is None or tls.private_key is None:
        return None
    return ServerTls(tls.certificate, tls.private_key, tls.worker_ca)


def _entries(config: Config) -> list[Entry]:
    return [
        Entry(
            name,
            Address(worker.url, worker.ca_file, worker.certificate_file, worker.key_file, worker.token_file),
            f"direct.workers.{name}",
        )
        for name, worker in config.direct.workers.items()
    ]


def _heartbeat(config: Config) -> Heartbeat:
    return Heartbeat(config.health.heartbeat_interval_s, config.health.heartbeat_misses)


def _tunnel_settings(config: Config) -> TunnelSettings:
    limits = Limits(
        heartbeat_interval_s=config.health.heartbeat_interval_s, heartbeat_misses=config.health.heartbeat_misses
    )
    return TunnelSettings(
        gateway=config.listen.name or socket.gethostname(),
        limits=limits,
        max_workers=config.limits.max_workers,
        verifies_workers=config.tls.worker_ca is not None,
        token_grace_s=config.auth.token_grace_s,
    )
