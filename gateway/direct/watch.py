"""Which direct workers are there: each is asked in turn what it serves, and dispatch is told what changes.

The rules are those of a tunnel: a worker joins with its models, is probed before it gets a job, is lost after so many
heartbeats without a word or when it refuses a connection, and joins anew when it is back. A worker is its name: one
that has dialled in under it is left alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from gateway.direct.connection import Address, Connection
from gateway.direct.link import DirectLink
from gateway.dispatch.model import ExchangeError, ExchangeFailed, Link, ModelOffer
from gateway.errors import GatewayError

MAX_MODELS = 256
"""Of one worker."""
MAX_SLOTS = 1024
MAX_NAME = 128
MAX_TEXT = 1000
MAX_DEPTH = 16
"""Of what a worker tells about a model: whoever writes it as JSON again recurses."""


class Workforce(Protocol):
    """What dispatch is told about workers."""

    def join(self, link: Link, offers: Sequence[ModelOffer]) -> None:
        """A worker is here."""

    def leave(self, link: Link, reason: str) -> None:
        """It is gone."""

    def update(self, link: Link, offers: Sequence[ModelOffer]) -> None:
        """It offers other models."""

    def drain_worker(self, link: Link) -> None:
        """It takes no more jobs."""

    def workers_view(self) -> Sequence[Mapping[str, object]]:
        """Every worker, with its name under `worker`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One worker of the configuration."""

    name: str
    address: Address
    field: str
    """The setting that names it, for messages."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """When a worker counts as lost: `health.heartbeat_interval_s` and `health.heartbeat_misses`."""

    interval_s: float
    misses: int


@dataclass(frozen=True, slots=True)
class _Said:
    """What a worker says of itself."""

    session: str
    software: str
    is_draining: bool
    offers: tuple[ModelOffer, ...]


class DirectWorkers:
    """All of them."""

    def __init__(
        self,
        entries: Sequence[Entry],
        workforce: Workforce,
        heartbeat: Heartbeat,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Reads files. Raises FileError. `clock` is the one that dispatch has."""
        self._watches = [_Watch(entry, workforce, heartbeat, clock, sleep) for entry in entries]

    async def run(self) -> None:
        """Watches until cancelled; then every worker has left and every connection is closed."""
        async with asyncio.TaskGroup() as tasks:
            for watch in self._watches:
                tasks.create_task(watch.run())


class _Watch:
    """One worker, over all its lives."""

    def __init__(
        self,
        entry: Entry,
        workforce: Workforce,
        heartbeat: Heartbeat,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self._entry = entry
        self._connection = Connection(entry.address, entry.field)
        self._workforce = workforce
        self._heartbeat = heartbeat
        self._clock = clock
        self._sleep = sleep
        self._link: DirectLink | None = None
        self._said: _Said | None = None
        self._misses = 0
        self._trouble = ""
        """What was logged last, so that it is logged once."""
        self._log = structlog.get_logger("gateway.direct").bind(worker=entry.name, url=entry.address.url)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                try:
                    await self._look()
                except Exception as error:  # one worker's trouble costs that worker, not the gateway
                    self._log.exception("worker could not be looked at")
                    self._missed(f"{type(error).__name__}: {error}")
                await self._sleep(self._heartbeat.interval_s)
        finally:
            if self._link is not None:
                self._link.lose("the gateway stopped")
            await self._connection.close()

    async def _look(self) -> None:
        began = self._clock()
        try:
            said = _said(await self._connection.get("/v1/models", self._heartbeat.interval_s))
        except (ExchangeError, GatewayError, TimeoutError) as error:
            self._missed(str(error) or f"no answer within {self._heartbeat.interval_s:g} s")
            return
        self._misses = 0
        if self._link is not None and self._said is not None and said.session != self._said.session:
            self._link.lose("it was started anew")
        if self._link is None or self._link.is_ended:
            self._join(said)
        elif self._said is not None:
            self._changed(self._link, self._said, said)
        if self._link is not None:
            self._link.measured(self._clock() - began)

    def _join(self, said: _Said) -> None:
        self._link = None
        if said.is_draining:
            return
        if any(one.get("worker") == self._entry.name for one in self._workforce.workers_view()):
            self._say(f"a worker has dialled in under its name; {self._entry.field}.name must be its own")
            return
        about = {"address": self._entry.address.url, "session": said.session, "software": said.software, "direct": True}
        self._link, self._said, self._trouble = (
            DirectLink(self._entry.name, about, self._connection, self._lost, self._clock),
            said,
            "",
        )
        self._log.info("worker joined", software=said.software, models=[one.name for one in said.offers])
        self._workforce.join(self._link, said.offers)

    def _changed(self, link: DirectLink, before: _Said, said: _Said) -> None:
        self._said = said
        if said.offers != before.offers:
            self._workforce.update(link, said.offers)
        if said.is_draining and not before.is_draining:
            self._log.info("worker draining")
            self._workforce.drain_worker(link)
        elif before.is_draining and not said.is_draining:
            link.lose("it no longer drains")

    def _missed(self, reason: str) -> None:
        self._misses += 1
        if self._link is None or self._link.is_ended:
            self._say(reason)
        elif self._misses >= self._heartbeat.misses:
            self._link.lose(f"{self._misses} heartbeats without an answer: {reason}")

    def _lost(self, link: DirectLink, reason: str) -> None:
        self._log.info("worker left", reason=reason)
        self._workforce.leave(link, reason)

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._log.warning("worker is not there", reason=trouble)


def _said(document: object) -> _Said:
    """Raises ExchangeFailed for what is none of a worker's."""
    try:
        if not isinstance(document, dict):
            raise TypeError("no object")
        offers = tuple(_offer(model) for model in document["models"][:MAX_MODELS])
        if len({offer.name for offer in offers}) < len(offers):
            raise ValueError("a model is announced twice")
        return _Said(
            session=str(document["session"])[:MAX_TEXT],
            software=str(document.get("software", ""))[:MAX_TEXT],
            is_draining=document.get("draining") is True,
            offers=offers,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ExchangeFailed(f"/v1/models is not answered as a worker does: {error!r}") from error


def _offer(model: Mapping[str, object]) -> ModelOffer:
    """Bounded as a tunnel's announcement is. Raises KeyError, ValueError."""
    name, slots, metadata = model["name"], model["slots"], model.get("metadata", {})
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME or not name.isprintable() or "/" in name:
        raise ValueError(f"name = {str(name)[:MAX_NAME]!r}")
    if not isinstance(slots, int) or not 1 <= slots <= MAX_SLOTS or not isinstance(metadata, dict):
        raise ValueError(f"slots = {slots!r}")
    if not _is_shallow(metadata, MAX_DEPTH):
        raise ValueError(f"metadata is nested over {MAX_DEPTH} levels deep")
    return ModelOffer(
        name, str(model["version"])[:MAX_TEXT], slots,
        str(model.get("failure", ""))[:MAX_TEXT], metadata,
    )  # fmt: skip


def _is_shallow(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    inside = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(one, levels - 1) for one in inside)
