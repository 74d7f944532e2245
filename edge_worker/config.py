"""What a worker is told, read once from flags and environment, for each of its commands (options.py has the flags).

Mistakes are collected and reported together, each with its field, its value and what is allowed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_worker.backends.http.address import UpstreamSettings
from edge_worker.backends.settings import BackendSettings
from edge_worker.option import read_options
from edge_worker.options import CONNECT, HEALTH, LOCAL, SERVE
from wire.limits import MAX_TOKEN_BYTES

_TOKEN = re.compile(rf"[!-~]{{1,{MAX_TOKEN_BYTES}}}")


class ConfigError(Exception):
    """The configuration cannot be used; the text has one line for each mistake."""


class CannotListen(Exception):
    """A port or a socket cannot be had, though the configuration can be used; the text names the option."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Everything, validated."""

    gateways: tuple[str, ...]
    """Tunnel addresses, wss://HOST[:PORT]/PATH; one tunnel is held to each."""
    name: str
    """The worker's identity: unique in the fleet, and covered by the token's scope."""
    token: str | None
    """The bearer token itself; None when it is in `token_file`."""
    token_file: Path | None
    """Where the bearer token is; read for each dial and whenever it changes."""
    ca_file: Path | None
    """The authority that signed the gateway's certificate; None for the system's."""
    certificate_file: Path | None
    """A client certificate, for gateways that want one."""
    key_file: Path | None
    """Its private key; None when it is in the same file."""
    backend: str
    """One of BACKENDS."""
    engine: BackendSettings
    """What the backend is told."""
    max_body_bytes: int
    """A longer request body is refused, but not by the backend http, which holds none."""
    drain_grace_s: float
    """Seconds that work in flight has to finish after SIGTERM."""
    health_socket: Path | None
    """Where `edge-worker health` asks; None listens nowhere."""
    log_format: str
    """json, console, or auto."""
    log_level: str
    """debug, info, warning or error."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Free text about this machine, shown to operators."""
    upstream: UpstreamSettings = field(default_factory=UpstreamSettings)
    """What the backend http is told."""


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """What the HTTP server is told."""

    host: str
    """The address it listens on."""
    port: int
    """The TCP port; 0 for any that is free."""
    certificate_file: Path | None
    """The server's certificate in PEM; None serves plain HTTP."""
    key_file: Path | None
    """Its private key; None when it is in the same file."""
    client_ca_file: Path | None
    """The authority whose certificates clients must show; None asks for none."""
    backend: str
    """One of BACKENDS."""
    engine: BackendSettings
    """What the backend is told."""
    max_body_bytes: int
    """A longer image is refused."""
    drain_grace_s: float
    """Seconds that work in flight has to finish after SIGTERM."""
    health_socket: Path | None
    """Where `edge-worker health` asks; None listens nowhere."""
    log_format: str
    """json, console, or auto."""
    log_level: str
    """debug, info, warning or error."""


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """What a run over files of this machine is told."""

    model: str
    """The one model that is asked."""
    images: tuple[Path, ...]
    """Files, in the order of the result."""
    top: int
    """Labels of each image."""
    repeat: int
    """Rounds over all images."""
    concurrency: int
    """Calls at the same moment."""
    as_json: bool
    """A JSON document instead of a table."""
    backend: str
    """One of BACKENDS."""
    engine: BackendSettings
    """What the backend is told."""
    max_file_bytes: int
    """A longer file is refused."""


def is_token(text: str) -> bool:
    """Whether this can be a bearer token: visible ASCII without a space, as a header can carry it."""
    return _TOKEN.fullmatch(text) is not None


def load(flags: argparse.Namespace, environment: Mapping[str, str]) -> WorkerConfig:
    """The configuration of `connect`. Raises ConfigError with every mistake in it."""
    problems: dict[str, list[str]] = {}
    values = read_options(CONNECT, flags, environment, problems)
    token = environment.get("TOKEN") or None
    if token is not None and not is_token(token):  # which is never shown
        problems["token"] = [f"TOKEN: must be one token, 1 to {MAX_TOKEN_BYTES} visible ASCII characters"]
    if not values["gateway"] and "gateway" not in problems:
        problems["gateway"] = ["gateway: is missing; give --gateway wss://HOST[:PORT] or GATEWAY_URL"]
    if token is None and values["token-file"] is None and "token-file" not in problems:
        how = "give --token-file FILE, TOKEN_FILE, or the token itself in TOKEN"
        problems["token-file"] = [f"token-file: is missing; {how}"]
    _want_certificate_with_key(values, problems)
    if values["backend"] == "http" and not values["upstream"] and "upstream" not in problems:
        problems["upstream"] = ["upstream: is missing; give --upstream http://HOST:PORT or UPSTREAM"]
    _raise_any(problems)
    return WorkerConfig(
        gateways=tuple(dict.fromkeys(values["gateway"])),
        name=values["name"],
        token=token if values["token-file"] is None else None,
        token_file=values["token-file"],
        ca_file=values["ca-file"],
        certificate_file=values["certificate-file"],
        key_file=values["key-file"],
        backend=values["backend"],
        engine=_engine(values),
        upstream=UpstreamSettings(
            upstreams=values["upstream"],
            health=values["upstream-health"],
            slots=values["upstream-slots"],
            ca_file=values["upstream-ca-file"],
        ),
        max_body_bytes=values["max-body-bytes"],
        drain_grace_s=values["drain-grace-s"],
        health_socket=values["health-socket"],
        log_format=values["log-format"],
        log_level=values["log-level"],
        labels=dict(values["label"]),
    )


def load_serve(flags: argparse.Namespace, environment: Mapping[str, str]) -> ServeConfig:
    """The configuration of `serve`. Raises ConfigError with every mistake in it."""
    problems: dict[str, list[str]] = {}
    values = read_options(SERVE, flags, environment, problems)
    _want_certificate_with_key(values, problems)
    _raise_any(problems)
    return ServeConfig(
        host=values["host"],
        port=values["port"],
        certificate_file=values["certificate-file"],
        key_file=values["key-file"],
        client_ca_file=values["client-ca-file"],
        backend=values["backend"],
        engine=_engine(values),
        max_body_bytes=values["max-body-bytes"],
        drain_grace_s=values["drain-grace-s"],
        health_socket=values["health-socket"],
        log_format=values["log-format"],
        log_level=values["log-level"],
    )


def load_local(flags: argparse.Namespace, environment: Mapping[str, str]) -> LocalConfig:
    """The configuration of `local`. Raises ConfigError with every mistake in it."""
    problems: dict[str, list[str]] = {}
    values = read_options(LOCAL, flags, environment, problems)
    _raise_any(problems)
    return LocalConfig(
        model=flags.model,
        images=tuple(map(Path, flags.images)),
        top=values["top"],
        repeat=values["repeat"],
        concurrency=values["concurrency"] or values["slots"],
        as_json=values["json"],
        backend=values["backend"],
        engine=_engine(values),
        max_file_bytes=values["max-body-bytes"],
    )


def load_health(flags: argparse.Namespace, environment: Mapping[str, str]) -> Path:
    """Where `health` asks. Raises ConfigError."""
    path: Path | None = read_options(HEALTH, flags, environment, {})["health-socket"]
    if path is None:
        raise ConfigError("health-socket: is missing; give --health-socket FILE or HEALTH_SOCKET, as to the worker")
    return path


def _want_certificate_with_key(values: Mapping[str, Any], problems: dict[str, list[str]]) -> None:
    for name in ("key-file", "client-ca-file"):
        given = values.get(name) is not None and values["certificate-file"] is None
        if given and "certificate-file" not in problems:
            problems["certificate-file"] = [f"certificate-file: is missing, but {name} is given"]


def _raise_any(problems: Mapping[str, list[str]]) -> None:
    if problems:
        raise ConfigError("\n".join(line for lines in problems.values() for line in lines))


def _engine(values: Mapping[str, Any]) -> BackendSettings:
    return BackendSettings(
        slots=values["slots"],
        threads=values["threads"],
        model_dirs=values["model-dir"],
        models=values.get("model", ()),  # `local` has its one model
        embedded=not values["no-embedded"],
        max_pixels=values["max-pixels"],
        max_batch=values["max-batch"],
        max_batch_wait_us=values["max-batch-wait-us"],
        engine_limit_s=values["engine-limit-s"],
        device=values["device"],
        require_gpu=values["require-gpu"],
        xla=values["xla"],
        mixed_precision=values["mixed-precision"],
        echo_models=values["echo-model"] or ("echo",),
        echo_service_time=values["echo-service-time"],
        echo_busy=values["echo-busy"],
        seed=values["seed"],
    )
