"""One exchange as one end sees it: what was sent, what came, what may follow.

Both halves go HEAD -> BODY -> DONE; a frame that neither begins nor goes on with what is due is the peer's error. An
exchange is over when its response is: a request body that is still being sent then is dropped.
"""

from __future__ import annotations

from enum import Enum, auto

from .errors import LocalProtocolError
from .frames import Buffer, Data, Request, Response, Trailers
from .window import ReceiveWindow, SendWindow


class Half(Enum):
    """How far one direction is."""

    HEAD = auto()
    BODY = auto()
    DONE = auto()


_BEGINS = (Request, Response)
_GOES_ON = (Data, Trailers)


class BrokenBody(Exception):
    """The peer's body breaks its own promise. Ends this exchange, not the tunnel."""


class Incoming:
    """The half that the peer sends."""

    __slots__ = ("expected_bytes", "half", "received_bytes", "window")

    def __init__(self, window: ReceiveWindow) -> None:
        self.half = Half.HEAD
        self.window = window
        self.received_bytes = 0
        self.expected_bytes: int | None = None

    def advance(self, frame: Request | Response | Data | Trailers, is_last: bool) -> None:
        """Takes a frame's place in the order. Raises BrokenBody when it has none."""
        half, kind = self.half, type(frame)
        if isinstance(frame, Response) and frame.head.status < 200 and half is Half.HEAD:
            if is_last or frame.data:
                raise BrokenBody(f"an informational response ({frame.head.status}) with a body")
            return
        if half is Half.DONE or kind not in (_BEGINS if half is Half.HEAD else _GOES_ON):
            raise BrokenBody(f"{kind.__name__.upper()} in state {half.name}")
        self.half = Half.DONE if is_last else Half.BODY

    def count(self, size: int) -> None:
        """`size` more bytes of body came. Raises BrokenBody over the promised length, or at a short end."""
        self.received_bytes += size
        if self.expected_bytes is None:
            return
        if self.received_bytes > self.expected_bytes:
            raise BrokenBody(f"a body of over the promised {self.expected_bytes} bytes")
        if self.half is Half.DONE and self.received_bytes < self.expected_bytes:
            raise BrokenBody(f"a body of {self.received_bytes} bytes where {self.expected_bytes} were promised")


class Outgoing:
    """The half that we send: queued bytes, and what ends them."""

    __slots__ = ("_chunks", "ending", "half", "has_head", "is_queued", "trailers", "unsent_bytes", "window")

    def __init__(self, window: SendWindow) -> None:
        self.half = Half.HEAD
        self.has_head = False
        """Whether the (final) head was given to us, sent or not."""
        self.is_queued = False
        """Whether it stands in the session's ring."""
        self.window = window
        self.unsent_bytes = 0
        self.ending = False
        self.trailers = b""
        """The TRAILERS frame that ends the body; empty where END does."""
        self._chunks: list[memoryview] = []  # bounded by the caller, who waits for BodySent; often one

    def push(self, data: Buffer, *, end: bool, trailers: bytes = b"") -> None:
        """Queues body bytes. Raises LocalProtocolError before the head and after the end."""
        if not self.has_head or self.ending:
            raise LocalProtocolError("a body before its head" if not self.has_head else "more of a body that has ended")
        if data:
            view = memoryview(data).cast("B")
            self._chunks.append(view)
            self.unsent_bytes += len(view)
        self.ending, self.trailers = end, trailers

    @property
    def is_waiting(self) -> bool:
        """Whether there is a frame to send, credit permitting."""
        return self.half is Half.BODY and (self.unsent_bytes > 0 or self.ending)

    @property
    def next_bytes(self) -> int:
        """Bytes for one frame: all that is left of a body whose end is here; else a piece, as it was pushed."""
        if self.ending:
            return self.unsent_bytes
        return len(self._chunks[0]) if self._chunks else 0

    def take(self, size: int) -> list[memoryview]:
        """The next `size` bytes, from 1 to `next_bytes`, in pieces as they were pushed; spends credit."""
        self.unsent_bytes -= size
        self.window.spend(size)
        taken = []
        while size:
            chunk = self._chunks[0]
            if len(chunk) <= size:
                self._chunks.pop(0)
            else:
                self._chunks[0], chunk = chunk[size:], chunk[:size]
            taken.append(chunk)
            size -= len(chunk)
        return taken


class Exchange:
    """Both halves, under one number."""

    __slots__ = ("incoming", "number", "outgoing")

    def __init__(self, number: int, incoming: Incoming, outgoing: Outgoing) -> None:
        self.number = number
        self.incoming = incoming
        self.outgoing = outgoing
