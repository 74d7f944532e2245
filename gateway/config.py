"""Everything that can be set: meaning, default and what is allowed, in sections that are handed to whom they are for.

Each section is frozen, and a name that it does not have is a mistake. Where values come from, and what is said of a
wrong one, is config_reader.py's. docs/reference/configuration.md is made from this file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    create_model,
    model_validator,
)

from gateway.dispatch.policies import POLICIES
from gateway.dispatch.settings import DispatchSettings

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Bytes = Annotated[int, Field(ge=1024, le=1 << 40)]


def _split(value: object) -> object:
    """A list may be written as one string with commas, which is all that the environment has."""
    return [word for word in (part.strip() for part in value.split(",")) if word] if isinstance(value, str) else value


def _network(value: object) -> IPv4Network | IPv6Network:
    """An address or a network; pydantic's own union would report each mistake twice."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        return ip_network(str(value))
    except ValueError as error:
        raise ValueError(f"must be an IP address or a network like 10.0.0.0/8 ({error})") from error


HostedService = Annotated[str, Field(min_length=1, max_length=128)]
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_network)]


class Section(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


class Listen(Section):
    """Where clients and workers connect."""

    host: str = "0.0.0.0"  # noqa: S104 - a gateway is there to be reached; the admin listener is not
    """Address to listen on; `0.0.0.0` is every IPv4 address, `::` every address of both kinds."""
    port: Port = 8443
    """TCP port; 0 lets the system choose one."""
    name: str = ""
    """This gateway's name in workers' logs; empty takes the machine's host name."""


class Admin(Section):
    """The operator's listener: metrics and the full view of workers. It asks for no token, so keep it private."""

    host: str = "127.0.0.1"
    """Address to listen on; loopback by default, and any other is worth a warning in the log."""
    port: Port = 9443
    """TCP port; 0 lets the system choose one."""
    enabled: bool = True
    """Whether this listener exists."""


class Tls(Section):
    """The gateway's certificate and whether workers must show one. The files are re-read when they change."""

    certificate: Path | None = None
    """PEM file with the certificate and its chain; none serves plain HTTP, for use behind a proxy that has one,
    with a warning unless `listen.host` is loopback."""
    private_key: Path | None = None
    """PEM file with the certificate's private key, without a passphrase."""
    worker_ca: Path | None = None
    """PEM file with the authorities whose certificates workers must show on the tunnel; none asks for none."""

    @model_validator(mode="after")
    def _pair(self) -> Tls:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key must be set together")
        if self.worker_ca is not None and self.certificate is None:
            raise ValueError("worker_ca needs certificate and private_key")
        return self


class Auth(Section):
    """Whose tokens are taken."""

    jwks: Path = Path("jwks.json")
    """File with the public keys (JWKS, RFC 7517); re-read when it changes."""
    revocations: Path | None = None
    """File with the ids of revoked tokens; re-read when it changes; none revokes nothing."""
    issuer: Annotated[str, Field(min_length=1)] = "edge-gateway"
    """The `iss` that a token must carry."""
    audience: Annotated[str, Field(min_length=1)] = "edge-gateway"
    """The `aud` that a token must carry."""
    leeway_s: Annotated[float, Field(ge=0, le=300)] = 10.0
    """Seconds by which the clocks of issuer and gateway may differ; 0 allows none."""
    token_grace_s: Annotated[float, Field(ge=0, le=86400)] = 30.0
    """How long a worker's tunnel outlives its token, for a renewal that is late; 0 cuts it off at once."""


class Limits(Section):
    """What one client, and all together, may ask for."""

    max_body_bytes: Bytes = 32 << 20
    """Longest single image, in bytes."""
    max_multipart_bytes: Bytes = 512 << 20
    """Longest multipart request, in bytes: all its files together."""
    max_json_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 16 << 20
    """Longest JSON in a request, in bytes. Reading it holds the gateway's event loop for some 10 ms per MiB."""
    max_parts: Count = 256
    """Most files in a multipart request, and most images in a request of a standard API."""
    max_parallel_parts: Count = 16
    """Files of one multipart request that are held and worked on at the same time."""
    max_held_bytes: Bytes = 1 << 30
    """Bytes of bodies that all requests together may hold; the next piece of a body is answered 429."""
    max_requests: Count = 4096
    """Inference requests at the same time; the next one is answered 429."""
    max_workers: Count = 10_000
    """Workers' tunnels at the same time; the next worker is answered 503."""
    max_header_bytes: Annotated[int, Field(ge=1024, le=65536)] = 8190
    """Longest request line and longest header, in bytes."""
    max_headers: Annotated[int, Field(ge=16, le=1000)] = 64
    """Most headers of a request."""
    header_timeout_s: Seconds = 10.0
    """Time for a new connection to finish its TLS handshake, and again to send the head of its first request."""
    keepalive_timeout_s: Seconds = 75.0
    """How long a connection may idle between requests, the next request's head included."""
    body_stall_s: Seconds = 10.0
    """A body that brings no byte for this long is answered 408."""
    body_min_rate_bytes_s: Annotated[float, Field(gt=0, le=1e12)] = 4096.0
    """Least average rate of a body after the first `body_stall_s`, in bytes per second; below it the answer is 408."""
    body_total_s: Seconds = 300.0
    """Most time that is spent waiting for one body."""
    default_timeout_s: Seconds = 30.0
    """Deadline of a request that brings no X-Request-Timeout."""
    max_timeout_s: Seconds = 300.0
    """Longest X-Request-Timeout that is taken."""

    @model_validator(mode="after")
    def _order(self) -> Limits:
        if self.default_timeout_s > self.max_timeout_s:
            raise ValueError("default_timeout_s must not be more than max_timeout_s")
        return self


def _pairs(value: object) -> object:
    """A table may be written as `name=value,name=value`, which is all that the environment has."""
    if not isinstance(value, str):
        return value
    return {name.strip(): text.strip() for name, _, text in (part.partition("=") for part in value.split(",") if part)}


def _worker_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("must be http://HOST:PORT or https://HOST:PORT")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must have no path: the gateway adds its own")
    return f"{parts.scheme}://{parts.netloc}"


WorkerName = Annotated[str, Field(pattern=r"^[!-.0-~]{1,128}$")]
"""Visible ASCII without a slash, as a worker that dials in is called."""


class Tunnel(Section):
    """Servers behind workers, as they are reached under /tunnel/{service}/ and under host names of their own."""

    hosts: Annotated[dict[str, HostedService], BeforeValidator(_pairs)] = {}
    """Host names, each with the service that gets every request for it, whatever its path; a name may have a port."""
    pass_authorization: bool = False
    """Whether the server gets the client's Authorization header, the gateway's own token in it."""
    first_byte_s: Seconds = 60.0
    """A request without X-Request-Timeout ends when nothing of it moved for this long and no answer has begun."""
    idle_s: Seconds = 300.0
    """An answer, or a WebSocket, ends when nothing was sent either way for this long."""


class DirectWorker(Section):
    """One worker that the gateway reaches itself."""

    url: Annotated[str, AfterValidator(_worker_url)]
    """Where it listens: `http://HOST:PORT` or `https://HOST:PORT`."""
    ca_file: Path | None = None
    """PEM file with the authority of its certificate; none believes the system's."""
    certificate_file: Path | None = None
    """PEM file with a certificate that the gateway shows; none shows none."""
    key_file: Path | None = None
    """PEM file with its private key; none looks into certificate_file."""
    token_file: Path | None = None
    """File with a bearer token, for a proxy in front of the worker; none sends none."""

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, value: object) -> object:
        """An address alone will do, which is all that the environment has."""
        return {"url": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _key_has_certificate(self) -> DirectWorker:
        if self.key_file is not None and self.certificate_file is None:
            raise ValueError("key_file needs certificate_file")
        if not self.url.startswith("https://") and (self.ca_file or self.certificate_file):
            raise ValueError("ca_file and certificate_file need an https:// url")
        return self


class Direct(Section):
    """Workers that are reached at an address (`edge-worker serve`), beside those that dial in."""

    workers: Annotated[dict[WorkerName, DirectWorker], BeforeValidator(_pairs)] = {}
    """Tables by the worker's name, with `url`, `ca_file`, `certificate_file`, `key_file`, `token_file`; or
    `NAME=URL,NAME=URL`. Read at the start alone."""


class ImageUrl(Section):
    """Whether the gateway fetches images that clients name by address, and from where."""

    enabled: bool = False
    """Whether `{"image_url": ...}` is taken at all."""
    hosts: Annotated[tuple[Annotated[str, AfterValidator(str.lower)], ...], BeforeValidator(_split)] = ()
    """Names that may be asked; `name:port` for another port than 443. Only their public addresses are
    connected to."""
    timeout_s: Seconds = 10.0
    """Most time for one image, its name's look-up included."""


class Health(Section):
    """When a worker counts as lost."""

    heartbeat_interval_s: Annotated[float, Field(ge=0.05, le=3600)] = 2.0
    """Time between two heartbeats."""
    heartbeat_misses: Annotated[int, Field(ge=1, le=100)] = 3
    """Heartbeats without any sign of the peer after which it is lost."""


class Proxy(Section):
    """Proxies in front of the gateway."""

    trusted: Annotated[tuple[Network, ...], BeforeValidator(_split)] = ()
    """Addresses and networks of proxies whose X-Forwarded-For is believed; empty believes nobody's."""


class Drain(Section):
    """Leaving without losing anything."""

    grace_s: Annotated[float, Field(ge=0, le=86400)] = 30.0
    """After SIGTERM, how long what is in flight may take; 0 cuts it off at once."""


class Log(Section):
    """What is written to standard error."""

    format: Literal["auto", "json", "console"] = "auto"
    """`json` lines, `console` for people, `auto` for console on a terminal and json elsewhere."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is written."""
    requests: bool = True
    """Whether each request is a line."""


def _known_policy(name: str) -> str:
    if name not in POLICIES:
        raise ValueError(f"must be one of {', '.join(sorted(POLICIES))}")
    return name


DISPATCH_BOUNDS: Mapping[str, Any] = {  # Any: pydantic takes several kinds of annotation
    "policy": AfterValidator(_known_policy),
    "max_queue_jobs": Field(ge=1),
    "max_queue_bytes": Field(ge=0),
    "retry_after_min_s": Field(ge=0, allow_inf_nan=False),
    "retry_after_max_s": Field(ge=0, allow_inf_nan=False),
    "no_worker_retry_s": Field(ge=0, allow_inf_nan=False),
    "absence_s": Field(ge=0, allow_inf_nan=False),
    "smoothing": Field(gt=0, le=1),
    "decay_s": Field(gt=0, allow_inf_nan=False),
    "max_credits_ahead": Field(ge=0),
    "eject_after": Field(ge=0),
    "eject_base_s": Field(gt=0, allow_inf_nan=False),
    "eject_max_s": Field(gt=0, allow_inf_nan=False),
    "probe_timeout_s": Field(gt=0, allow_inf_nan=False),
    "probe_retry_s": Field(gt=0, allow_inf_nan=False),
    "probe_idle_s": Field(ge=0, allow_inf_nan=False),
    "tick_s": Field(gt=0, le=10),
    "reply_hold_bytes": Field(ge=0),
    "max_models": Field(ge=1),
}
"""What each setting of dispatch may be. The settings, their defaults and their meaning are DispatchSettings' own."""


def _dispatch_section() -> type[Section]:
    """A section with the fields of DispatchSettings, within DISPATCH_BOUNDS."""
    hints = get_type_hints(DispatchSettings)
    fields: dict[str, Any] = {}  # Any: what create_model takes
    for setting in dataclasses.fields(DispatchSettings):
        bound = DISPATCH_BOUNDS.get(setting.name)
        hint = hints[setting.name] if bound is None else Annotated[hints[setting.name], bound]
        fields[setting.name] = (hint, setting.default)
    return create_model("Dispatch", __base__=Section, **fields)


DISPATCH_SECTION = _dispatch_section()


def _as_settings(value: object) -> DispatchSettings:
    if isinstance(value, DispatchSettings):
        return value
    return DispatchSettings(**DISPATCH_SECTION.model_validate(value).model_dump())


class Config(Section):
    """The whole configuration."""

    listen: Listen = Listen()
    admin: Admin = Admin()
    tls: Tls = Tls()
    auth: Auth = Auth()
    limits: Limits = Limits()
    dispatch: Annotated[DispatchSettings, PlainValidator(_as_settings)] = Field(default_factory=DispatchSettings)
    tunnel: Tunnel = Tunnel()
    direct: Direct = Direct()
    health: Health = Health()
    image_url: ImageUrl = ImageUrl()
    proxy: Proxy = Proxy()
    drain: Drain = Drain()
    log: Log = Log()


def sections_of() -> dict[str, type[Section]]:
    """Every section by name, for messages and for the reference page."""
    annotations = {name: field.annotation for name, field in Config.model_fields.items()}
    return {
        name: annotation if isinstance(annotation, type) and issubclass(annotation, Section) else DISPATCH_SECTION
        for name, annotation in annotations.items()
    }
