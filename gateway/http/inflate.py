"""A body with Content-Encoding gzip or deflate, unpacked as it arrives and bounded by what it unpacks to.

A thousand bytes can become a million, so nothing is unpacked further than one step ahead of what the reader took; the
reader's own limit then ends the body. `deflate` is what RFC 9110 8.4.1.2 says: a zlib stream.
"""

from __future__ import annotations

import asyncio
import zlib

from gateway.errors import BadRequest, UnsupportedMedia
from gateway.http.body import ByteStream
from gateway.http.head import shown

STEP_BYTES = 256 * 1024
"""Unpacked at a time, in less than a millisecond; others have their turn between two steps."""
WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class InflatedStream:
    """The pieces of a body after unpacking."""

    def __init__(self, packed: ByteStream, encoding: str) -> None:
        """`encoding` is one of WINDOW_BITS."""
        self.pace = packed.pace
        self._packed = packed
        self._encoding = encoding
        self._inflater = zlib.decompressobj(WINDOW_BITS[encoding])
        self._is_at_end = False

    @property
    def is_at_end(self) -> bool:
        """True when everything was unpacked and taken."""
        return self._is_at_end

    async def next(self) -> bytes:
        """The next unpacked bytes, at most STEP_BYTES; empty at the end. Raises GatewayError."""
        data = b""
        while not data and not self._is_at_end:
            data = await self._step()
        return data

    async def _step(self) -> bytes:
        waiting = self._inflater.unconsumed_tail
        if waiting:
            await asyncio.sleep(0)  # a bomb must not hold the loop
        else:
            waiting = await self._packed.next()
        data = self._inflate(waiting)
        if self._inflater.unused_data:
            raise BadRequest(f"the body goes on after the end of its {self._encoding} stream")
        if not self._inflater.unconsumed_tail and self._packed.is_at_end:
            if not self._inflater.eof:
                raise BadRequest(f"the body's {self._encoding} stream breaks off")
            self._is_at_end = True
        return data

    def _inflate(self, waiting: bytes) -> bytes:
        try:
            return self._inflater.decompress(waiting, STEP_BYTES)
        except zlib.error as error:
            raise BadRequest(f"the body is not {self._encoding}, as its Content-Encoding says: {error}") from error


def inflated(stream: ByteStream, content_encoding: str) -> ByteStream:
    """The stream as it was before its Content-Encoding. Raises UnsupportedMedia."""
    encoding = content_encoding.strip().lower()
    if encoding in ("", "identity"):
        return stream
    if encoding not in WINDOW_BITS:
        raise UnsupportedMedia(f"Content-Encoding {shown(content_encoding)} is not taken: use gzip, deflate or none")
    return InflatedStream(stream, encoding)


def compressed(body: bytes, accept_encoding: str) -> tuple[bytes, str]:
    """The body and its Content-Encoding, which is empty unless the client asks for exactly `gzip` or `deflate`: a list
    of encodings comes from HTTP libraries whose users then do not unpack."""
    if accept_encoding not in WINDOW_BITS:
        return body, ""
    packer = zlib.compressobj(1, wbits=WINDOW_BITS[accept_encoding])
    return packer.compress(body) + packer.flush(), accept_encoding
