"""The options of each command, and what their values may be. What means the same is the same row for every command."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from edge_worker.backends.factory import BACKENDS, DEVICE
from edge_worker.backends.http.address import DEFAULT_SLOTS, MAX_SLOTS, parse_upstream
from edge_worker.backends.service_time import parse_service_time
from edge_worker.backends.settings import BackendSettings
from edge_worker.batch_rules import MAX_BATCH, MAX_WAIT_US
from edge_worker.dialer import tunnel_url
from edge_worker.option import SWITCH, Option

_NAME = re.compile(r"[!-.0-~]{1,128}")
_FORMATS = ("auto", "json", "console")
_LEVELS = ("debug", "info", "warning", "error")
_PIXELS = str(BackendSettings().max_pixels)
_BODY = str(64 << 20)


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


def _limit(text: str) -> float:
    value = _seconds(text)
    if not value:
        raise ValueError("must be seconds, more than 0 and up to 3600")
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


def _device(text: str) -> str:
    if not DEVICE.fullmatch(text):
        raise ValueError("must be auto, cpu, or gpu:N with N from 0")
    return text


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


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _health_path(text: str) -> str:
    if text and not re.fullmatch(r"/[!-~]*", text):
        raise ValueError("must begin with a slash, and be visible ASCII characters")
    return text


def _worker_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("must be 1 to 128 visible ASCII characters without a slash")
    return text


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals or len(text) > 256:
        raise ValueError("must be NAME=VALUE, of at most 256 characters")
    return name, value


GATEWAYS, LISTENING, RUN = "gateways", "listening", "the run"
COMPUTING, ECHO, OPERATION = "models and computing", "the echo backend", "operation"
HTTP = "the http backend"

_ENGINE = (
    Option("backend", "BACKEND", _one_of(*BACKENDS), "opencv_dnn", "what computes", COMPUTING, "|".join(BACKENDS)),
    Option("model-dir", "MODEL_DIR", _folder, "", "model folders, or one; repeatable", COMPUTING, "FOLDER", True),
    Option("no-embedded", "NO_EMBEDDED", _flag, "false", "leave out the shipped digit classifier", COMPUTING, SWITCH),
    Option("slots", "SLOTS", _whole(1, 64), "1", "calls of one model that run at the same moment", COMPUTING, "1-64"),
    Option("threads", "THREADS", _whole(0, 256), "0", "of one inference; 0: cores / slots", COMPUTING, "0-256"),
    Option("device", "DEVICE", _device, "auto", "where tensorflow computes", COMPUTING, "auto|cpu|gpu:N"),
    Option("require-gpu", "REQUIRE_GPU", _flag, "false", "do not start without a GPU", COMPUTING, SWITCH),
    Option("xla", "XLA", _flag, "false", "let tensorflow compile each network", COMPUTING, SWITCH),
    Option("mixed-precision", "MIXED_PRECISION", _flag, "false", "float16 where a GPU gains", COMPUTING, SWITCH),
    Option(
        "max-batch",
        "MAX_BATCH",
        _whole(0, MAX_BATCH),
        "0",
        "computed together at most; 1: no batches; 0: what the model says",
        COMPUTING,
        "PICTURES",
    ),
    Option(
        "max-batch-wait-us",
        "MAX_BATCH_WAIT_US",
        _whole(0, MAX_WAIT_US),
        "0",
        "how long the first of a batch waits for others",
        COMPUTING,
        "MICROS",
    ),
    Option(
        "engine-limit-s",
        "ENGINE_LIMIT_S",
        _limit,
        "10",
        "an engine that takes longer hangs, and is given up",
        COMPUTING,
        "SECONDS",
    ),
    Option("max-pixels", "MAX_PIXELS", _whole(1, 1 << 32), _PIXELS, "largest picture", COMPUTING, "PIXELS"),
    Option("max-body-bytes", "MAX_BODY_BYTES", _whole(1, 1 << 31), _BODY, "longest body or file", COMPUTING, "BYTES"),
    Option(
        "echo-model", "ECHO_MODEL", str, "", "a name to answer under, echo by default; repeatable", ECHO, "NAME", True
    ),
    Option(
        "echo-service-time", "ECHO_SERVICE_TIME", parse_service_time, "0ms", "20ms, exponential:20ms, ...", ECHO, "TIME"
    ),
    Option("echo-busy", "ECHO_BUSY", _flag, "false", "keep a core busy rather than sleep", ECHO, SWITCH),
    Option("seed", "SEED", _whole(0, 1 << 32), "0", "of random service times", ECHO, "NUMBER"),
)
"""What computes, and how: the same for every command."""

_UPSTREAM = (
    Option("upstream", "UPSTREAM", parse_upstream, "", "a server to forward to; repeatable", HTTP, "[NAME=]URL", True),
    Option(
        "upstream-health", "UPSTREAM_HEALTH", _health_path, "", "asked every 2 s; default: connect only", HTTP, "PATH"
    ),
    Option(
        "upstream-slots",
        "UPSTREAM_SLOTS",
        _whole(1, MAX_SLOTS),
        str(DEFAULT_SLOTS),
        "requests, streams and WebSockets at the same moment, for each server",
        HTTP,
        f"1-{MAX_SLOTS}",
    ),
    Option("upstream-ca-file", "UPSTREAM_CA_FILE", _file, "", "who signed an https server's certificate", HTTP, "FILE"),
)
"""Of the backend `http`, which only `connect` has."""

_LEAVING = (
    Option("drain-grace-s", "DRAIN_GRACE_S", _seconds, "30", "for work in flight after SIGTERM", OPERATION, "SECONDS"),
)

_HEALTH = (
    Option(
        "health-socket", "HEALTH_SOCKET", _path, "", "Unix socket that `edge-worker health` asks", OPERATION, "FILE"
    ),
)

_MODELS = (Option("model", "MODEL", str, "", "serve this one only; repeatable; default: all", COMPUTING, "NAME", True),)

_LOG = (
    Option(
        "log-format",
        "LOG_FORMAT",
        _one_of(*_FORMATS),
        "auto",
        "auto: for people on a terminal",
        OPERATION,
        "|".join(_FORMATS),
    ),
    Option("log-level", "LOG_LEVEL", _one_of(*_LEVELS), "info", "least level logged", OPERATION, "|".join(_LEVELS)),
)

CONNECT = (
    Option("gateway", "GATEWAY_URL", tunnel_url, "", "a gateway; repeatable", GATEWAYS, "wss://HOST[:PORT]", True),
    Option("name", "WORKER_NAME", _worker_name, "", "this worker's unique name; default: the host's", GATEWAYS, "NAME"),
    Option("token-file", "TOKEN_FILE", _file, "", "the bearer token; re-read when it changes", GATEWAYS, "FILE"),
    Option(
        "ca-file", "CA_FILE", _file, "", "who signed the gateway's certificate; default: system's", GATEWAYS, "FILE"
    ),
    Option("certificate-file", "CERTIFICATE_FILE", _file, "", "client certificate, if wanted there", GATEWAYS, "FILE"),
    Option("key-file", "KEY_FILE", _file, "", "its private key; default: in the same file", GATEWAYS, "FILE"),
    *_MODELS,
    *_ENGINE,
    *_UPSTREAM,
    Option("label", "LABELS", _label, "", "shown to operators; repeatable", OPERATION, "NAME=VALUE", True),
    *_LEAVING,
    *_HEALTH,
    *_LOG,
)
"""Of `connect`. Lists in a variable are separated by commas. The token itself can be given by the variable TOKEN only:
a command line is seen by every user of a machine."""

SERVE = (
    Option("host", "SERVE_HOST", str, "127.0.0.1", "address to listen on; 0.0.0.0: all", LISTENING, "ADDRESS"),
    Option("port", "SERVE_PORT", _whole(0, 65535), "8000", "port to listen on; 0: any free one", LISTENING, "PORT"),
    Option("certificate-file", "SERVE_CERTIFICATE_FILE", _file, "", "serve HTTPS with it", LISTENING, "FILE"),
    Option("key-file", "SERVE_KEY_FILE", _file, "", "its private key; default: in the same file", LISTENING, "FILE"),
    Option("client-ca-file", "SERVE_CLIENT_CA_FILE", _file, "", "who may connect: of this CA alone", LISTENING, "FILE"),
    *_MODELS,
    *_ENGINE,
    *_LEAVING,
    *_HEALTH,
    *_LOG,
)
"""Of `serve`. Its certificate is another than the one that `connect` shows to a gateway, so its variables are too."""

LOCAL = (
    Option("top", "LOCAL_TOP", _whole(1, 1000), "1", "labels of each image", RUN, "1-1000"),
    Option("repeat", "LOCAL_REPEAT", _whole(1, 1_000_000), "1", "rounds over all images", RUN, "TIMES"),
    Option("concurrency", "LOCAL_CONCURRENCY", _whole(0, 256), "0", "calls at once; 0: as many as slots", RUN, "0-256"),
    Option("json", "LOCAL_JSON", _flag, "false", "one JSON document instead of a table", RUN, SWITCH),
    *_ENGINE,
)
"""Of `local`."""

HEALTH = _HEALTH
"""Of `health`."""
