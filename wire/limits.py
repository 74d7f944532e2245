"""Every bound of the protocol, with its unit and its reason. Values both ends must agree on are constants;
values that one end chooses and announces are fields of `Limits`.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20

MAX_MESSAGE_BYTES = 1 * MIB
"""Bytes of one WebSocket message. Room for a HELLO with thousands of labels and for the largest chunk."""

MAX_HEAD_BYTES = 64 * KIB
"""Bytes of JSON in REQUEST, RESPONSE and TRAILERS. HTTP servers commonly stop at 8 to 64 KiB of headers."""

MAX_TEXT_BYTES = 1 * KIB
"""Bytes of the human-readable text in CANCEL, FAILED, DRAIN and GOAWAY; longer ones are cut when encoded."""

MAX_TOKEN_BYTES = 16 * KIB
"""Bytes of a bearer token in TOKEN."""

MAX_METADATA_PAIRS = 256
"""Pairs of metadata in one head."""

MAX_JSON_DEPTH = 16
"""Levels of objects and lists in labels, details and a model's metadata. Far deeper, a recursive reader fails."""

MAX_CREDIT_BYTES = (1 << 31) - 1
"""Credit outstanding at most, so that it fits any implementation's integer (RFC 9113 6.9.1 has the same bound)."""

MIN_CHUNK_BYTES = 4 * KIB
"""A smaller chunk costs more in headers and wake-ups than it saves in waiting."""

MAX_CHUNK_BYTES = 256 * KIB
"""A larger chunk gains nothing measurable, even on loopback."""

CHUNK_TIME_S = 0.005
"""Seconds of the link that one chunk may occupy: what a control frame may have to wait for. 16 KiB, which rust-yamux
fixes, is 6.5 ms at 20 Mbit/s."""

QUEUE_TIME_S = 0.010
"""Seconds of the link that may be in flight beyond its round trip: two chunks, so that it never runs dry between
acknowledgements. LEDBAT (RFC 6817) allows 100 ms; we share the connection with small requests that feel it."""

INITIAL_FLIGHT_BYTES = 32 * KIB
"""Bytes in flight while the path is unknown. TCP's own initial window is about 14 kB (RFC 6928)."""

MIN_FLIGHT_BYTES = 4 * MIN_CHUNK_BYTES
"""Bytes that may always be in flight, however slow the path looks."""

MAX_FLIGHT_BYTES = 32 * MIB
"""Bytes in flight at most: 1 Gbit/s at a quarter of a second."""

MIN_RTT_WINDOW_S = 10.0
"""Seconds for which the least round trip is believed before it is measured anew (BBR uses 10 s too)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one end allows itself and its peer."""

    window_bytes: int = 256 * KIB
    """Receive window with which each exchange begins. A typical photograph arrives without waiting for credit."""
    max_window_bytes: int = 16 * MIB
    """Largest receive window of one exchange: 1 Gbit/s at 125 ms."""
    max_buffered_bytes: int = 64 * MIB
    """Sum of all receive windows of a connection: what a peer can make this end hold. Windows grow into what is left
    of it when every exchange has its first one."""
    max_exchanges: int = 128
    """Exchanges open at the same moment. Times `window_bytes` it must not exceed `max_buffered_bytes`."""
    heartbeat_interval_s: float = 2.0
    """Seconds between PINGs of the gateway. cloudflared uses 1 s, Envoy 2 s, HTTP/2 proxies 15 to 30 s."""
    heartbeat_misses: int = 3
    """Intervals without a single byte from the peer after which it is lost."""
    opening_timeout_s: float = 10.0
    """Seconds for HELLO and WELCOME to be exchanged."""

    def __post_init__(self) -> None:
        if self.max_exchanges * self.window_bytes > self.max_buffered_bytes:
            raise ValueError(
                f"max_exchanges ({self.max_exchanges}) times window_bytes ({self.window_bytes}) "
                f"is over max_buffered_bytes ({self.max_buffered_bytes})"
            )
        if not 0 < self.window_bytes <= self.max_window_bytes <= MAX_CREDIT_BYTES:
            raise ValueError("window_bytes must be over 0 and at most max_window_bytes, which is under 2 GiB")
        if self.max_exchanges < 1:
            raise ValueError("max_exchanges must be over 0")
        if self.heartbeat_interval_s <= 0 or self.heartbeat_misses < 1 or self.opening_timeout_s <= 0:
            raise ValueError("heartbeat_interval_s, heartbeat_misses and opening_timeout_s must be over 0")

    @property
    def silence_s(self) -> float:
        """Seconds without a byte from the peer after which it is lost."""
        return self.heartbeat_interval_s * self.heartbeat_misses
