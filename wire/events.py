"""What happened on a tunnel, in the past tense: what `Session.receive` and `Session.tick` return.

Frames that need no decision above (ACK, CREDIT, PING) do not appear, but for what they changed. As frames, events are
not changed once they are made.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import CloseCode, ExchangeCode
from .frames import Buffer, Hello, Load, Metadata, Model, RequestHead, ResponseHead, Welcome


@dataclass(slots=True)
class HelloReceived:
    """Gateway: a worker introduces itself. Answer with `welcome` or `close`."""

    hello: Hello


@dataclass(slots=True)
class WelcomeReceived:
    """Worker: the tunnel is open."""

    welcome: Welcome


@dataclass(slots=True)
class ModelsChanged:
    """Gateway: the worker's models from now on."""

    models: tuple[Model, ...]


@dataclass(slots=True)
class LoadReported:
    """Gateway: what the worker says of its load."""

    load: Load


@dataclass(slots=True)
class RoundTripMeasured:
    """The side that pings: a heartbeat came back. `offset_s` is the peer's clock minus ours."""

    rtt_s: float
    offset_s: float


@dataclass(slots=True)
class TokenReceived:
    """Gateway: a newer token. Answer with `accept_token` or `close`."""

    token: str


@dataclass(slots=True)
class TokenRenewed:
    """Worker: the newer token is in force for this long; 0: for ever."""

    expires_in_s: float


@dataclass(slots=True)
class RequestReceived:
    """Worker: an exchange began."""

    exchange: int
    head: RequestHead


@dataclass(slots=True)
class ResponseReceived:
    """Gateway: an exchange is being answered."""

    exchange: int
    head: ResponseHead


@dataclass(slots=True)
class BodyReceived:
    """More of a body. Say `consume` when it is used up, or the peer will run out of credit."""

    exchange: int
    data: Buffer


@dataclass(slots=True)
class BodyEnded:
    """The body is whole; `trailers` is what followed it."""

    exchange: int
    trailers: Metadata


@dataclass(slots=True)
class BodySent:
    """What was given to `send_body` is on its way: there is room for more."""

    exchange: int


@dataclass(slots=True)
class ResponseSent:
    """Worker: the last of an answer was given to the channel; the exchange is over."""

    exchange: int


@dataclass(slots=True)
class ExchangeCancelled:
    """Worker: drop this work; its answer would go nowhere."""

    exchange: int
    code: ExchangeCode
    text: str


@dataclass(slots=True)
class ExchangeFailed:
    """Gateway: no answer, or no more of it."""

    exchange: int
    code: ExchangeCode
    text: str


@dataclass(slots=True)
class PeerDraining:
    """Open no more exchanges; the peer finishes what is open within `grace_s`."""

    grace_s: float
    text: str


@dataclass(slots=True)
class DrainHeard:
    """The peer has read our DRAIN: what it opened before has come, and it opens no more."""


@dataclass(slots=True)
class SessionEnded:
    """The last event, always. Every exchange still open is lost."""

    code: CloseCode
    text: str
    by_peer: bool


Event = (
    HelloReceived
    | WelcomeReceived
    | ModelsChanged
    | LoadReported
    | RoundTripMeasured
    | TokenReceived
    | TokenRenewed
    | RequestReceived
    | ResponseReceived
    | BodyReceived
    | BodyEnded
    | BodySent
    | ResponseSent
    | ExchangeCancelled
    | ExchangeFailed
    | PeerDraining
    | DrainHeard
    | SessionEnded
)
