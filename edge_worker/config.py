"""What a worker is told, read once from flags and environment: every flag has a variable of the same name.

A flag beats its variable, a variable beats the default. Mistakes are collected and reported together, each with its
field, its value and what is allowed.
"""

from __future__ import annotations

import argparse
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_worker.backends.factory import BACKENDS
from edge_worker.backends.service_time import parse_service_time
from edge_worker.backends.settings import BackendSettings
from edge_worker.dialer import tunnel_url

_NAME = re.compile(r"[!-.0-~]{1,128}")


class ConfigError(Exception):
    """The configuration cannot be used; the text has one line for each mistake."""


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
    """A longer request body is refused."""
    drain_grace_s: float
    """Seconds that work in flight has to finish after SIGTERM."""
    log_format: str
    """json, text, or auto."""
    log_level: str
    """debug, info, warning or error."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Free text about this machine, shown to operators."""


@dataclass(frozen=True, slots=True)
class _Option:
    """One flag, its variable, and how its text becomes a value."""

    flag: str
    variable: str
    read: Callable[[str], Any]  # Any: each option has its own type, checked by the test of the defaults
    default: str
    help: str
    is_list: bool = False


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return read


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 3600:
        raise ValueError("must be seconds from 0 to 3600")
    return value


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return read


def _flag(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}
    if text.lower() not in words:
        raise ValueError("must be true or false")
    return words[text.lower()]


def _file(text: str) -> Path | None:
    if not text:
        return None
    if not Path(text).is_file():
        raise ValueError("is not a file")
    return Path(text)


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise ValueError("is not a folder")
    return Path(text)


def _worker_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("must be 1 to 128 visible ASCII characters without a slash")
    return text


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals or len(text) > 256:
        raise ValueError("must be NAME=VALUE, of at most 256 characters")
    return name, value


OPTIONS = (
    _Option("gateway", "GATEWAY_URL", tunnel_url, "", "a gateway's address, wss://HOST[:PORT]; repeatable", True),
    _Option("name", "WORKER_NAME", _worker_name, "", "this worker's unique name; by default the host's"),
    _Option("token-file", "TOKEN_FILE", _file, "", "file with the bearer token; re-read when it changes"),
    _Option("ca-file", "CA_FILE", _file, "", "authority that signed the gateway's certificate; default: the system's"),
    _Option("certificate-file", "CERTIFICATE_FILE", _file, "", "client certificate, where the gateway wants one"),
    _Option("key-file", "KEY_FILE", _file, "", "private key of the client certificate"),
    _Option("backend", "BACKEND", _one_of(*BACKENDS), "opencv_dnn", f"what computes: {', '.join(BACKENDS)}"),
    _Option("model-dir", "MODEL_DIR", _folder, "", "folder of model folders, or one model folder; repeatable", True),
    _Option("no-embedded", "NO_EMBEDDED", _flag, "false", "true: do not serve the shipped digit classifier"),
    _Option("slots", "SLOTS", _whole(1, 64), "1", "calls of one model that run at the same moment"),
    _Option("threads", "THREADS", _whole(0, 256), "0", "threads of one inference; 0: cores divided by slots"),
    _Option("max-pixels", "MAX_PIXELS", _whole(1, 1 << 32), str(BackendSettings().max_pixels), "largest picture"),
    _Option("max-body-bytes", "MAX_BODY_BYTES", _whole(1, 1 << 31), str(64 << 20), "longest request body"),
    _Option("echo-model", "ECHO_MODEL", str, "", "name under which echo answers; repeatable; default echo", True),
    _Option("echo-service-time", "ECHO_SERVICE_TIME", parse_service_time, "0ms", "20ms, exponential:20ms, ..."),
    _Option("echo-busy", "ECHO_BUSY", _flag, "false", "true: echo keeps a core busy rather than sleep"),
    _Option("seed", "SEED", _whole(0, 1 << 32), "0", "of echo's random service times"),
    _Option("label", "LABELS", _label, "", "NAME=VALUE shown to operators; repeatable", True),
    _Option("drain-grace-s", "DRAIN_GRACE_S", _seconds, "30", "seconds for work in flight after SIGTERM"),
    _Option("log-format", "LOG_FORMAT", _one_of("auto", "json", "text"), "auto", "auto, json or text"),
    _Option("log-level", "LOG_LEVEL", _one_of("debug", "info", "warning", "error"), "info", "least level logged"),
)
"""Lists in a variable are separated by commas. The token itself can be given by the variable TOKEN only: a command line
is seen by every user of a machine."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each option."""
    for option in OPTIONS:
        action = "append" if option.is_list else "store"
        text = f"{option.help} [{option.variable}]".replace("%", "%%")
        parser.add_argument(f"--{option.flag}", action=action, default=None, metavar="X", help=text)


def load(flags: argparse.Namespace, environment: Mapping[str, str]) -> WorkerConfig:
    """The configuration. Raises ConfigError with every mistake in it."""
    problems: list[str] = []
    values = {option.flag: _value(option, flags, environment, problems) for option in OPTIONS}
    token = environment.get("TOKEN") or None
    if not values["gateway"] and not any("gateway" in problem for problem in problems):
        problems.append("gateway: is missing; give --gateway wss://HOST[:PORT] or GATEWAY_URL")
    if token is None and values["token-file"] is None and not any("token" in problem for problem in problems):
        problems.append("token-file: is missing; give --token-file FILE, TOKEN_FILE, or the token itself in TOKEN")
    if values["key-file"] is not None and values["certificate-file"] is None:
        problems.append("certificate-file: is missing, but key-file is given")
    if problems:
        raise ConfigError("\n".join(problems))
    return _config(values, token)


def _value(option: _Option, flags: argparse.Namespace, environment: Mapping[str, str], problems: list[str]) -> Any:
    given = getattr(flags, option.flag.replace("-", "_"))
    source = f"--{option.flag}"
    if given is None and option.variable in environment:
        source, given = option.variable, environment[option.variable]
        given = [part.strip() for part in given.split(",") if part.strip()] if option.is_list else given
    if given is None:
        given = [] if option.is_list else option.default or (socket.gethostname() if option.flag == "name" else "")
    texts: Sequence[str] = given if option.is_list else [given]
    values = []
    for text in texts:
        try:
            values.append(option.read(text))
        except ValueError as error:
            problems.append(f"{source} = {text!r}: {error}")
    return tuple(values) if option.is_list else (values[0] if values else None)


def _config(values: Mapping[str, Any], token: str | None) -> WorkerConfig:
    engine = BackendSettings(
        slots=values["slots"],
        threads=values["threads"],
        model_dirs=values["model-dir"],
        embedded=not values["no-embedded"],
        max_pixels=values["max-pixels"],
        echo_models=values["echo-model"] or ("echo",),
        echo_service_time=values["echo-service-time"],
        echo_busy=values["echo-busy"],
        seed=values["seed"],
    )
    return WorkerConfig(
        gateways=tuple(dict.fromkeys(values["gateway"])),
        name=values["name"],
        token=token if values["token-file"] is None else None,
        token_file=values["token-file"],
        ca_file=values["ca-file"],
        certificate_file=values["certificate-file"],
        key_file=values["key-file"],
        backend=values["backend"],
        engine=engine,
        max_body_bytes=values["max-body-bytes"],
        drain_grace_s=values["drain-grace-s"],
        log_format=values["log-format"],
        log_level=values["log-level"],
        labels=dict(values["label"]),
    )
