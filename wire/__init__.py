"""The tunnel protocol, version 1, shared by both ends. Specified in docs/reference/wire.md.

Read in this order: `frames.py` (what crosses the wire; `codec.py` has the bytes), `session.py` (the rules), `pump.py`
(the waiting). Everything but `pump.py` is pure: no asyncio, no clock; `now` is an argument.
"""

SUBPROTOCOL = "edge-inference.v1"
"""Named in the WebSocket upgrade by both ends (RFC 6455 4.1): a stranger is turned away before a frame is read."""

TUNNEL_PATH = "/v1/tunnel"
"""Where a gateway takes tunnels, and where a worker dials when it is given no path."""

VERSION = 1
"""The only protocol version spoken; HELLO lists what the worker speaks, WELCOME says which one was taken."""
