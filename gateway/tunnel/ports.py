"""What the tunnel server needs of the rest of the gateway, and what it is configured with.

Dispatch, the authenticator and the metrics fit these without knowing of them; `gateway.app` puts them together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.auth import Principal, Reason
from gateway.dispatch.model import Link, LoadReport, ModelOffer
from wire.errors import CloseCode
from wire.limits import Limits


class Workforce(Protocol):
    """What dispatch is told about workers."""

    def join(self, link: Link, offers: Sequence[ModelOffer]) -> None:
        """A worker is here."""

    def leave(self, link: Link, reason: str) -> None:
        """It is gone."""

    def update(self, link: Link, offers: Sequence[ModelOffer]) -> None:
        """It offers other models."""

    def load(self, link: Link, report: LoadReport) -> None:
        """It tells its load."""

    def drain_worker(self, link: Link) -> None:
        """It takes no more jobs."""


class TokenVerifier(Protocol):
    """What is needed of `gateway.auth.Authenticator`."""

    def authenticate(self, authorization_header: str | None) -> Principal:
        """Raises Unauthenticated."""

    def verify(self, token: str) -> Principal:
        """Raises Unauthenticated."""

    def recheck(self, principal: Principal) -> None:
        """Raises Unauthenticated when it no longer holds."""

    def subscribe(self, on_change: Callable[[], None]) -> Callable[[], None]:
        """Calls back after keys or revocations changed."""


class TunnelObserver(Protocol):
    """Who counts."""

    def tunnel_opened(self) -> None:
        """A worker was let in."""

    def tunnel_ended(self, code: CloseCode) -> None:
        """A tunnel, welcomed or not, is over."""

    def token_refused(self, reason: Reason) -> None:
        """A worker's token was refused, at the upgrade or in-band."""


@dataclass(frozen=True, slots=True)
class TunnelSettings:
    """What the configuration says about tunnels."""

    gateway: str
    """This gateway's name, as workers log it."""
    limits: Limits
    """The wire protocol's bounds."""
    max_workers: int = 10_000
    """Tunnels at the same moment."""
    verifies_workers: bool = False
    """Whether a worker must also present a client certificate that names it."""
    token_grace_s: float = 30.0
    """Seconds that a tunnel lives on after its token expired, for a renewal that is late."""
