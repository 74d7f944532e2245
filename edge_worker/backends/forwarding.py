"""What a worker needs from something that passes exchanges on instead of computing them: bodies flow, nothing is whole.

The same place in the worker as `base.py`'s Backend, for servers that exist already. Everything but `forward` itself is
called back, not awaited: bytes go from one socket to the other without waking a task for each piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from edge_worker.backends.base import Changed, ServedModel

Headers = Sequence[tuple[str, str]]
"""Names in lower case, values in Latin-1, in order."""


class Sink(Protocol):
    """Where an exchange's request body goes, and who is told that there is room for more of the answer."""

    def body_received(self, data: bytes | memoryview) -> None:
        """More of the body. Say `Exchange.consumed` when it is used up."""

    def body_ended(self, trailers: Headers) -> None:
        """The body is whole."""

    def room_made(self) -> None:
        """The exchange is no longer full."""


class Exchange(Protocol):
    """One request and its answer, as a forwarder handles it. Harmless to call once nobody wants the answer."""

    service: str
    method: str
    path: str
    """With its query, byte for byte as the client sent it, in Latin-1."""
    headers: Headers
    body_bytes: int | None
    """The body's length; None while unknown."""

    def attach(self, sink: Sink) -> None:
        """Hands over what is here of the body, and from now on each piece as it comes."""

    def consumed(self, size: int) -> None:
        """So many bytes of the request's body are used up: as many more may come."""

    def inform(self, status: int, headers: Headers) -> None:
        """An informational answer; the real one follows."""

    def respond(self, status: int, headers: Headers, body_bytes: int | None) -> None:
        """The answer's head. Raises ValueError for one that is too large."""

    def send(self, data: bytes | memoryview) -> None:
        """More of the answer's body."""

    def end(self, trailers: Headers = ()) -> None:
        """The answer is whole. Raises ValueError for trailers that are too large."""

    def flush(self) -> None:
        """Sends what was said since the last flush."""

    @property
    def is_full(self) -> bool:
        """Whether enough waits to be sent: no more until `Sink.room_made`."""


@runtime_checkable
class Forwarder(Protocol):
    """Something that passes exchanges on."""

    name: str

    async def start(self) -> Sequence[ServedModel]:
        """Looks at every server once; returns all services, those that are down with the reason. Called once."""

    async def forward(self, exchange: Exchange) -> None:
        """Returns when the answer is whole. Raises NotReady while nothing has reached the server, BadInput and
        BackendFailed; cancelling drops it."""

    async def probe(self, service: str) -> None:
        """One real request of the worker's own. Raises BackendFailed."""

    async def watch(self, changed: Changed) -> None:
        """Looks at the servers again and again, until cancelled."""

    async def close(self) -> None:
        """Closes what is kept open. Called once; no exchange is in flight then."""
