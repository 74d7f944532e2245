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
from wire.limits import MAX_TOKEN_BYTES

_NAME = re.compile(r"[!-.0-~]{1,128}")
_TOKEN = re.compile(rf"[!-~]{{1,{MAX_TOKEN_BYTES}}}")


_SWITCH = "true|false"
_FORMATS = ("auto", "json", "console")
_LEVELS = ("debug", "info", "warning", "error")
_PIXELS = str(BackendSettings().max_pixels)
_BODY = str(64 << 20)


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
    """json, console, or auto."""
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
    group: str
    value: str
    """What stands for the value in the help."""
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


GATEWAYS, COMPUTING, ECHO, OPERATION = "gateways", "models and computing", "the echo backend", "operation"

OPTIONS = (
    _Option("gateway", "GATEWAY_URL", tunnel_url, "", "a gateway; repeatable", GATEWAYS, "wss://HOST[:PORT]", True),
    _Option(
        "name", "WORKER_NAME", _worker_name, "", "this worker's unique name; default: the host's", GATEWAYS, "NAME"
    ),
    _Option("token-file", "TOKEN_FILE", _file, "", "the bearer token; re-read when it changes", GATEWAYS, "FILE"),
    _Option(
        "ca-file", "CA_FILE", _file, "", "who signed the gateway's certificate; default: system's", GATEWAYS, "FILE"
    ),
    _Option("certificate-file", "CERTIFICATE_FILE", _file, "", "client certificate, if wanted there", GATEWAYS, "FILE"),
    _Option("key-file", "KEY_FILE", _file, "", "its private key; default: in the same file", GATEWAYS, "FILE"),
    _Option("backend", "BACKEND", _one_of(*BACKENDS), "opencv_dnn", "what computes", COMPUTING, "|".join(BACKENDS)),
    _Option("model-dir", "MODEL_DIR", _folder, "", "model folders, or one; repeatable", COMPUTING, "FOLDER", True),
    _Option("no-embedded", "NO_EMBEDDED", _flag, "false", "leave out the shipped digit classifier", COMPUTING, _SWITCH),
    _Option("slots", "SLOTS", _whole(1, 64), "1", "calls of one model that run at the same moment", COMPUTING, "1-64"),
    _Option("threads", "THREADS", _whole(0, 256), "0", "of one inference; 0: cores / slots", COMPUTING, "0-256"),
    _Option("max-pixels", "MAX_PIXELS", _whole(1, 1 << 32), _PIXELS, "largest picture", COMPUTING, "PIXELS"),
    _Option("max-body-bytes", "MAX_BODY_BYTES", _whole(1, 1 << 31), _BODY, "longest request body", COMPUTING, "BYTES"),
    _Option(
        "echo-model", "ECHO_MODEL", str, "", "a name to answer under, echo by default; repeatable", ECHO, "NAME", True
    ),
    _Option(
        "echo-service-time", "ECHO_SERVICE_TIME", parse_service_time, "0ms", "20ms, exponential:20ms, ...", ECHO, "TIME"
    ),
    _Option("echo-busy", "ECHO_BUSY", _flag, "false", "keep a core busy rather than sleep", ECHO, _SWITCH),
    _Option("seed", "SEED", _whole(0, 1 << 32), "0", "of random service times", ECHO, "NUMBER"),
    _Option("label", "LABELS", _label, "", "shown to operators; repeatable", OPERATION, "NAME=VALUE", True),
    _Option("drain-grace-s", "DRAIN_GRACE_S", _seconds, "30", "for work in flight after SIGTERM", OPERATION, "SECONDS"),
    _Option(
        "log-format",
        "LOG_FORMAT",
        _one_of(*_FORMATS),
        "auto",
        "auto: for people on a terminal",
        OPERATION,
        "|".join(_FORMATS),
    ),
    _Option("log-level", "LOG_LEVEL", _one_of(*_LEVELS), "info", "least level logged", OPERATION, "|".join(_LEVELS)),
)
"""Lists in a variable are separated by commas. The token itself can be given by the variable TOKEN only: a command line
is seen by every user of a machine."""


def is_token(text: str) -> bool:
    """Whether this can be a bearer token: visible ASCII without a space, as a header can carry it."""
    return _TOKEN.fullmatch(text) is not None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each option. A switch may be given its value, or none for true."""
    groups = {title: parser.add_argument_group(title) for title in dict.fromkeys(option.group for option in OPTIONS)}
    for option in OPTIONS:
        default = f", default {option.default}" if option.default and option.value != _SWITCH else ""
        text = f"{option.help}{default} [{option.variable}]".replace("%", "%%")
        action, optional = ("append", None) if option.is_list else ("store", "?" if option.value == _SWITCH else None)
        groups[option.group].add_argument(
            f"--{option.flag}",
            action=action,
            nargs=optional,
            const="true" if optional else None,
            default=None,
            metavar=option.value,
            help=text,
        )


def load(flags: argparse.Namespace, environment: Mapping[str, str]) -> WorkerConfig:
    """The configuration. Raises ConfigError with every mistake in it."""
    given = {name: value for name, value in environment.items() if value}  # empty counts as not set
    problems: dict[str, list[str]] = {}
    values = {option.flag: _value(option, flags, given, problems) for option in OPTIONS}
    token = given.get("TOKEN")
    if token is not None and not is_token(token):  # which is never shown
        problems["token"] = [f"TOKEN: must be one token, 1 to {MAX_TOKEN_BYTES} visible ASCII characters"]
    if not values["gateway"] and "gateway" not in problems:
        problems["gateway"] = ["gateway: is missing; give --gateway wss://HOST[:PORT] or GATEWAY_URL"]
    if token is None and values["token-file"] is None and "token-file" not in problems:
        how = "give --token-file FILE, TOKEN_FILE, or the token itself in TOKEN"
        problems["token-file"] = [f"token-file: is missing; {how}"]
    if values["key-file"] is not None and values["certificate-file"] is None and "certificate-file" not in problems:
        problems["certificate-file"] = ["certificate-file: is missing, but key-file is given"]
    if problems:
        raise ConfigError("\n".join(line for lines in problems.values() for line in lines))
    return _config(values, token)


def _value(
    option: _Option, flags: argparse.Namespace, environment: Mapping[str, str], problems: dict[str, list[str]]
) -> Any:
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
            problems.setdefault(option.flag, []).append(f"{source} = {text!r}: {error}")
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
