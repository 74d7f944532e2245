"""A worker played by hand: frames of the wire's codec over a WebSocket, without a session that keeps the rules."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from demo.stack import Stack
from wire import SUBPROTOCOL, VERSION
from wire.codec import decode, encode
from wire.frames import ControlFrame, Frame, GoAway, Hello, Model, Ping, Pong

WINDOW_BYTES = 256 << 10


def hello(worker: str, *, generation: int = 1, dial: int = 1, model: str = "nothing", version: int = VERSION) -> Hello:
    """A worker's introduction, with one model that nobody else has unless told otherwise."""
    models = (Model(model, "1", 1),)
    return Hello((version,), worker, generation, dial, "by hand", models, max_exchanges=8, window=WINDOW_BYTES)


@dataclass(frozen=True)
class Ending:
    """How the gateway ended a tunnel: its last frame, and the WebSocket's close."""

    goaway: GoAway | None
    code: int
    reason: str


class HandWorker:
    """One connection."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket

    async def say(self, *frames: ControlFrame | Frame) -> None:
        for frame in frames:
            await self.websocket.send(encode(frame))

    async def hear(self) -> Frame:
        """The next frame."""
        message = await self.websocket.recv()
        assert isinstance(message, bytes)
        return decode(message)

    async def hear_one(self, kind: type) -> Frame:
        """The next frame of this class; heartbeats on the way are answered, others passed over."""
        while True:
            frame = await self.hear()
            if isinstance(frame, kind):
                return frame
            if isinstance(frame, Ping):
                await self.say(Pong(frame.sent_us, 1, 1))

    async def ending(self) -> Ending:
        """Reads to the end."""
        goaway = None
        try:
            while True:
                frame = await self.hear()
                goaway = frame if isinstance(frame, GoAway) else goaway
        except ConnectionClosed as closed:
            assert closed.rcvd is not None, "cut off without a goodbye"
            return Ending(goaway, closed.rcvd.code, closed.rcvd.reason)

    def vanish(self) -> None:
        """Cuts the connection, without a goodbye of any kind."""
        self.websocket.transport.abort()


@asynccontextmanager
async def dialled(
    stack: Stack, token: str | None, *, subprotocols: Sequence[str] = (SUBPROTOCOL,)
) -> AsyncIterator[HandWorker]:
    """A connection to the gateway's tunnel. Raises what websockets raises when there is no upgrade."""
    websocket = await connect(
        f"wss://localhost:{stack.port}/v1/tunnel",
        ssl=ssl.create_default_context(cafile=stack.credentials.ca),
        additional_headers={} if token is None else {"Authorization": f"Bearer {token}"},
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        compression=None,
        max_size=None,
        ping_interval=None,
        close_timeout=2,
    )
    try:
        yield HandWorker(websocket)
    finally:
        await websocket.close()
