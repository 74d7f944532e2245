"""One gateway: dials it, holds a tunnel to it, and dials again when that ends, until told to leave.

What happens on a tunnel is `tunnel.py`'s; how long to wait is `backoff.py`'s. Nothing that goes wrong here ends the
worker: its tunnels to other gateways go on.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edge_worker.backends.base import ServedModel
from edge_worker.backoff import Backoff
from edge_worker.dialer import DialFailed, dial
from edge_worker.exchange_runner import ExchangeRunner
from edge_worker.forward_runner import ForwardRunner
from edge_worker.tunnel import Tunnel
from wire import VERSION
from wire.channel import Channel
from wire.errors import CloseCode
from wire.frames import Hello, Load, Model
from wire.limits import Limits

_REFUSALS = frozenset(
    {CloseCode.SUPERSEDED, CloseCode.IDENTITY_IN_USE, CloseCode.UNAUTHORIZED, CloseCode.VERSION_UNSUPPORTED}
)
"""Ends that dialling again does not mend by itself."""

log = logging.getLogger("edge_worker.link")

Dial = Callable[[str, str, ssl.SSLContext], Awaitable[Channel]]
"""URL, token and TLS to a channel. Raises DialFailed."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this process is to every gateway."""

    worker: str
    generation: int
    """Milliseconds of the wall clock when the process started: a restarted worker takes over from its old self."""
    software: str
    labels: Mapping[str, str] = field(default_factory=dict)


class GatewayLink:
    """This worker's tunnel to one gateway."""

    def __init__(
        self,
        url: str,
        identity: Identity,
        models: Sequence[ServedModel],
        runner: ExchangeRunner | ForwardRunner,
        *,
        read_token: Callable[[], str],
        tls: ssl.SSLContext,
        limits: Limits,
        max_body_bytes: int,
        backoff: Backoff,
        dial: Dial = dial,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`read_token` is called for each dial and may raise OSError."""
        self.url = url
        self._identity = identity
        self._models = _announced(models)
        self._runner = runner
        self._read_token = read_token
        self._tls = tls
        self._limits = limits
        self._max_body_bytes = max_body_bytes
        self._backoff = backoff
        self._dial = dial
        self._clock = clock
        self._dials = 0
        self._token = ""  # the last one that this gateway was shown
        self._dialling: asyncio.Timeout | None = None
        self._tunnel: Tunnel | None = None
        self._is_leaving = False
        self._retry_now = asyncio.Event()

    @property
    def is_up(self) -> bool:
        """Whether the tunnel is open at the moment."""
        return self._tunnel is not None and self._tunnel.is_open

    # --- told by the app ----------------------------------------------------------------------------------------------

    def token_is(self, token: str) -> None:
        """The token at this moment. One that this gateway has not seen renews the tunnel's, or is dialled with now."""
        if token == self._token:
            return
        if self._tunnel is None:
            self._retry_now.set()
        elif self._tunnel.is_open:
            self._token = token
            self._tunnel.offer_token(token)

    def report_load(self, load: Load) -> None:
        """Tells the gateway how busy this worker is."""
        if self._tunnel is not None and self._tunnel.is_open:
            self._tunnel.report_load(load)

    def update_models(self, models: Sequence[ServedModel]) -> None:
        """What this worker serves from now on."""
        self._models = _announced(models)
        if self._tunnel is not None:
            self._tunnel.update_models(self._models)

    async def drain(self, grace_s: float, reason: str) -> int:
        """Dials no more; asks for no more work, finishes what is here within `grace_s`, and leaves. `run` then ends.
        Returns how many exchanges were still open."""
        self._is_leaving = True
        self._retry_now.set()
        if self._dialling is not None:
            self._dialling.reschedule(0.0)  # now
        return await self._tunnel.drain(grace_s, reason) if self._tunnel is not None else 0

    # --- life ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Holds a tunnel until `drain` has let it go."""
        while not self._is_leaving:
            try:
                delay_s = await self._one_tunnel()
            except DialFailed as error:
                delay_s = self._backoff.next_delay_s(error.retry_after_s, is_refusal=error.is_refusal)
                self._warn("not connected", reason=str(error), retry_s=round(delay_s, 3))
            except Exception:  # a bug, here or in a library: the tunnels to other gateways must not end with this one
                delay_s = self._backoff.next_delay_s(is_refusal=True)
                log.exception("tunnel failed", extra={"gateway": self.url, "retry_s": round(delay_s, 3)})
            if not self._is_leaving:
                await self._pause(delay_s)

    async def _one_tunnel(self) -> float:
        """Dials and serves until the tunnel ends; returns seconds to wait before the next."""
        channel = await self._connect()
        if channel is None:
            return 0.0
        if self._is_leaving:  # told in the moment in which it was connected
            await channel.close(CloseCode.SHUTTING_DOWN.websocket, "the worker is shutting down")
            return 0.0
        began = self._clock()
        self._dials += 1
        self._tunnel = Tunnel(
            channel, self.url, self._hello(), self._runner, self._limits, self._max_body_bytes, self._clock
        )
        try:
            ended = await self._tunnel.run()
        finally:
            self._tunnel = None
        self._backoff.connection_lived(self._clock() - began)
        delay_s = self._backoff.next_delay_s(is_refusal=ended.by_peer and ended.code in _REFUSALS)
        if not self._is_leaving:
            code = ended.code.name.lower()
            self._warn("disconnected", code=code, reason=ended.text, retry_s=round(delay_s, 3))
        return delay_s

    async def _connect(self) -> Channel | None:
        """Reads the token and dials; None when `drain` ended it. Raises DialFailed."""
        try:
            self._token = self._read_token()
        except OSError as error:
            raise DialFailed(f"the token cannot be read: {error}", is_refusal=True) from error
        try:
            async with asyncio.timeout(None) as self._dialling:
                return await self._dial(self.url, self._token, self._tls)
        except TimeoutError:
            return None
        finally:
            self._dialling = None

    def _hello(self) -> Hello:
        return Hello(
            versions=(VERSION,),
            worker=self._identity.worker,
            generation=self._identity.generation,
            dial=self._dials,
            software=self._identity.software,
            models=self._models,
            max_exchanges=self._limits.max_exchanges,
            window=self._limits.window_bytes,
            labels=dict(self._identity.labels),
        )

    async def _pause(self, delay_s: float) -> None:
        self._retry_now.clear()
        try:
            async with asyncio.timeout(delay_s):
                await self._retry_now.wait()
        except TimeoutError:
            return

    def _warn(self, event: str, **fields: object) -> None:
        log.warning(event, extra={"gateway": self.url, **fields})


def _announced(models: Sequence[ServedModel]) -> tuple[Model, ...]:
    """The backend's models in the protocol's words."""
    return tuple(Model(m.name, m.version, m.slots, m.failure, dict(m.metadata)) for m in models)
