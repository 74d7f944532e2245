"""Ours and theirs: whose mistake ended the tunnel, and the codes that both ends use to say why.

`LocalProtocolError` is a bug on this side: the caller asked for what the protocol forbids. `RemoteProtocolError` is the
peer's: the connection is closed with its `code`. `FrameError` is the only thing that decoding can raise.
"""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """Why a tunnel ends: the code of GOAWAY, and 4000 + code in the WebSocket close frame."""

    SHUTTING_DOWN = 1
    """The sender is leaving and what was in flight is finished: dial another gateway, or this one later."""
    SUPERSEDED = 2
    """A newer session of the same worker took over."""
    UNAUTHORIZED = 3
    """The token expired without renewal, was revoked, or does not cover this worker."""
    PROTOCOL_ERROR = 4
    """The peer broke a rule; the text names it."""
    VERSION_UNSUPPORTED = 5
    """No protocol version in common."""
    IDENTITY_IN_USE = 6
    """A younger process holds this worker's identity: two workers were given one name."""
    PEER_LOST = 7
    """Nothing was heard for the agreed time."""
    INTERNAL = 8
    """The sender failed; the text says how far it knows."""

    @classmethod
    def read(cls, code: int) -> CloseCode:
        """The code a peer sent; one that this version does not know is INTERNAL."""
        try:
            return cls(code)
        except ValueError:
            return cls.INTERNAL

    @property
    def websocket(self) -> int:
        """The WebSocket close code, in the range for private use (RFC 6455 7.4.2)."""
        return 4000 + self.value


class ExchangeCode(IntEnum):
    """Why one exchange ended without an answer: the code of CANCEL and FAILED."""

    CANCELLED = 1
    """CANCEL: nobody waits for the answer any more."""
    DEADLINE = 2
    """Either way: the time was up."""
    OVERLOADED = 3
    """FAILED, work not begun: no slot and no room to wait."""
    DRAINING = 4
    """FAILED, work not begun: the worker is leaving."""
    UNKNOWN_MODEL = 5
    """FAILED, work not begun: the worker does not serve this model."""
    BAD_REQUEST = 16
    """FAILED: the request's head or parameters are wrong."""
    BAD_INPUT = 17
    """FAILED: the body is not what the model takes."""
    UNSUPPORTED_MEDIA_TYPE = 18
    """FAILED: the body's declared type is not taken."""
    PAYLOAD_TOO_LARGE = 19
    """FAILED: over the worker's limit of bytes or pixels."""
    BACKEND_FAILED = 32
    """FAILED: the engine failed on this input."""
    INTERNAL = 33
    """FAILED: the worker failed outside its engine."""

    @classmethod
    def read(cls, code: int) -> ExchangeCode:
        """The code a peer sent; one that this version does not know is INTERNAL."""
        try:
            return cls(code)
        except ValueError:
            return cls.INTERNAL

    @property
    def was_not_begun(self) -> bool:
        """Whether another worker may be given the exchange without any work being done twice."""
        return self in (ExchangeCode.OVERLOADED, ExchangeCode.DRAINING, ExchangeCode.UNKNOWN_MODEL)


class LocalProtocolError(Exception):
    """This side asked for something that the protocol forbids. Always a bug here."""


class RemoteProtocolError(Exception):
    """The peer broke the protocol; the tunnel must be closed with `code` and this text."""

    def __init__(self, text: str, code: CloseCode = CloseCode.PROTOCOL_ERROR) -> None:
        super().__init__(text)
        self.code = code


class FrameError(RemoteProtocolError):
    """A message that is not a frame of this version. The text names the frame and the field."""
