"""What crosses the wire, as values: one frame is one binary WebSocket message.

Nothing here knows how a frame is written as bytes (`codec.py`) or what may follow what (`session.py`). Each class is a
section of docs/reference/wire.md, in the same order. Nobody changes one once it is made; `frozen` would enforce it at
three times the price of making one, and an exchange makes a dozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

Buffer = bytes | memoryview
Metadata = tuple[tuple[str, str], ...]
PROBE_METHOD = "PROBE"
"""Of a REQUEST: run one inference of your own sample (docs/reference/wire.md, Probes)."""

Json = Mapping[str, Any]  # Any: a decoded JSON object has no narrower static type


@dataclass(slots=True)
class Model:
    """One model as a worker announces it."""

    name: str
    version: str
    slots: int
    failure: str = ""
    metadata: Json = field(default_factory=dict)


@dataclass(slots=True)
class Hello:
    """The worker's first frame: who it is, what it serves, what it allows."""

    TYPE: ClassVar[int] = 0x01
    versions: tuple[int, ...]
    worker: str
    generation: int
    """Grows with each start of the worker's process (milliseconds of the wall clock at its start do)."""
    dial: int
    """Grows with each dial of one process, so that its own newer session wins."""
    software: str
    models: tuple[Model, ...]
    max_exchanges: int
    window: int
    """Bytes of credit with which each request body begins."""
    labels: Json = field(default_factory=dict)
    """Free text about the machine for operators: engine, device, site."""


@dataclass(slots=True)
class Welcome:
    """The gateway's answer to HELLO. The tunnel is open from here on."""

    TYPE: ClassVar[int] = 0x02
    version: int
    session: str
    gateway: str
    heartbeat_ms: int
    misses: int
    window: int
    """Bytes of credit with which each response body begins."""
    token_expires_in_ms: int
    """0: never."""


@dataclass(slots=True)
class Models:
    """The worker's models from now on, all of them."""

    TYPE: ClassVar[int] = 0x03
    models: tuple[Model, ...]


@dataclass(slots=True)
class Load:
    """What the worker says of its load now and then."""

    TYPE: ClassVar[int] = 0x04
    running: int
    waiting: int
    details: Json = field(default_factory=dict)


@dataclass(slots=True)
class Ping:
    """A heartbeat. `sent_us` is the sender's monotonic clock, `rtt_us` the last round trip it measured (0: none)."""

    TYPE: ClassVar[int] = 0x05
    sent_us: int
    rtt_us: int = 0


@dataclass(slots=True)
class Pong:
    """The answer: the PING's time, and the answerer's clock when it came and when this left."""

    TYPE: ClassVar[int] = 0x06
    ping_us: int
    received_us: int
    sent_us: int


@dataclass(slots=True)
class Token:
    """A newer bearer token for this session."""

    TYPE: ClassVar[int] = 0x07
    token: str


@dataclass(slots=True)
class TokenAccepted:
    """The newer token is in force."""

    TYPE: ClassVar[int] = 0x08
    expires_in_ms: int


@dataclass(slots=True)
class Drain:
    """Open no more exchanges with me; what is open will be finished within `grace_ms`."""

    TYPE: ClassVar[int] = 0x09
    grace_ms: int
    text: str = ""


@dataclass(slots=True)
class GoAway:
    """The last frame of a tunnel. `code` is a CloseCode; an unknown one is read as INTERNAL."""

    TYPE: ClassVar[int] = 0x0A
    code: int
    text: str = ""


@dataclass(slots=True)
class Ack:
    """Body bytes received so far on this connection, all exchanges together."""

    TYPE: ClassVar[int] = 0x0B
    received: int


@dataclass(slots=True)
class RequestHead:
    """What is asked. Generic enough for any HTTP request."""

    method: str
    path: str
    """With its query string."""
    model: str = ""
    """The model whose slot this uses; empty where the path says it all."""
    metadata: Metadata = ()
    deadline_ms: int = 0
    """Time left when this was sent; 0: none."""
    traceparent: str = ""
    body_bytes: int | None = None
    """The body's length where it is known."""


@dataclass(slots=True)
class ResponseHead:
    """What is answered. Times are the worker's monotonic clock; durations are its own measurements."""

    status: int
    metadata: Metadata = ()
    body_bytes: int | None = None
    received_us: int = 0
    """When the request was whole at the worker; 0: not said."""
    sent_us: int = 0
    """When this head was made."""
    durations_us: tuple[tuple[str, int], ...] = ()
    """Steps in order, and microseconds each."""


@dataclass(slots=True)
class Request:
    """Opens an exchange (gateway to worker). `data` is the first of the body, so that a small one is one message."""

    TYPE: ClassVar[int] = 0x10
    exchange: int
    head: RequestHead
    data: Buffer = b""
    end: bool = False
    ack_now: bool = False


@dataclass(slots=True)
class Response:
    """Answers it. A status below 200 is informational and another RESPONSE follows (RFC 9110 15.2)."""

    TYPE: ClassVar[int] = 0x11
    exchange: int
    head: ResponseHead
    data: Buffer = b""
    end: bool = False
    ack_now: bool = False


@dataclass(slots=True)
class Data:
    """More of a body, either way."""

    TYPE: ClassVar[int] = 0x12
    exchange: int
    data: Buffer
    end: bool = False
    ack_now: bool = False


@dataclass(slots=True)
class Trailers:
    """Metadata after a body; ends it."""

    TYPE: ClassVar[int] = 0x13
    exchange: int
    metadata: Metadata


@dataclass(slots=True)
class Credit:
    """`bytes` more of this exchange's body may be sent to me."""

    TYPE: ClassVar[int] = 0x14
    exchange: int
    bytes: int


@dataclass(slots=True)
class Cancel:
    """Gateway to worker: drop this exchange. `code` is an ExchangeCode."""

    TYPE: ClassVar[int] = 0x15
    exchange: int
    code: int
    text: str = ""


@dataclass(slots=True)
class Failed:
    """Worker to gateway: this exchange has no answer, or no more of it. `code` is an ExchangeCode."""

    TYPE: ClassVar[int] = 0x16
    exchange: int
    code: int
    text: str = ""


ControlFrame = Hello | Welcome | Models | Load | Ping | Pong | Token | TokenAccepted | Drain | GoAway | Ack
ExchangeFrame = Request | Response | Data | Trailers | Credit | Cancel | Failed
Frame = ControlFrame | ExchangeFrame
