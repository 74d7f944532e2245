"""A channel's receiver that keeps what it is told."""

from __future__ import annotations

import asyncio

from wire.channel import ChannelClosed, Receiver
from wire.errors import RemoteProtocolError
from wire.frames import Buffer


class Told(Receiver):
    """Messages, ends, and how often there was room again."""

    def __init__(self) -> None:
        self.messages: list[Buffer] = []
        self.ends: list[ChannelClosed | RemoteProtocolError] = []
        self.rooms = 0
        self.news = asyncio.Event()

    def message_received(self, message: Buffer) -> None:
        """See Receiver."""
        self.messages.append(message)
        self.news.set()

    def room_made(self) -> None:
        """See Receiver."""
        self.rooms += 1
        self.news.set()

    def channel_closed(self, error: ChannelClosed | RemoteProtocolError) -> None:
        """See Receiver."""
        self.ends.append(error)
        self.news.set()

    async def ended(self) -> list[ChannelClosed | RemoteProtocolError]:
        """How it ended, as often as it was told."""
        while not self.ends:
            await self.told()
        return self.ends

    async def told(self) -> None:
        """Waits for the next thing; what is not told at once never will be."""
        self.news.clear()
        async with asyncio.timeout(10):
            await self.news.wait()
