"""Many images, or tensors, of one request that are all here: a job for each, spread over the workers, answers in order.

The standard APIs answer a request as a whole: the first item that fails ends it, and cancels the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.dispatch.model import Metadata
from gateway.errors import BadInput, BadRequest
from gateway.http.body import WholeBody
from gateway.http.exchange import Answer, T
from gateway.http.groups import first_error
from gateway.http.intake import Exchange, Order


@dataclass(frozen=True, slots=True)
class Item:
    """One image or one tensor."""

    pieces: Sequence[bytes]
    metadata: Metadata = ()
    """What the worker is told of the body."""


@dataclass(slots=True)
class ItemsRequest:
    """One request's items, from here to the answers."""

    order: Order
    max_items: int
    max_parallel: int
    workers: dict[str, None] = field(default_factory=dict)
    """The workers that answered, in the order of their first answer."""

    async def answers(self, items: Sequence[Item], exchange: Exchange[T], deadline: float) -> list[Answer[T]]:
        """One for each item, in their order. Raises the GatewayError of the first that failed."""
        if not 1 <= len(items) <= self.max_items:
            raise BadRequest(f"{len(items)} items in one request: 1 to {self.max_items} are taken (limits.max_parts)")
        call = self.order.call
        if len(items) == 1:
            answer = await self._answer(items[0], 0, call.request_id, exchange, deadline)
            call.answered(answer.worker, answer.stages, answer.batch_size)
            self.workers[answer.worker] = None
            return [answer]
        answers = await self._spread(items, exchange, deadline)
        self.workers.update(dict.fromkeys(answer.worker for answer in answers))
        call.worker = ",".join(self.workers)
        return answers

    async def _spread(self, items: Sequence[Item], exchange: Exchange[T], deadline: float) -> list[Answer[T]]:
        places = asyncio.Semaphore(self.max_parallel)

        async def answer(number: int, item: Item) -> Answer[T]:
            async with places:
                return await self._answer(item, number, f"{self.order.call.request_id}.{number}", exchange, deadline)

        with first_error():
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(answer(number, item)) for number, item in enumerate(items)]
        return [task.result() for task in running]

    async def _answer(self, item: Item, number: int, job_id: str, exchange: Exchange[T], deadline: float) -> Answer[T]:
        body = WholeBody(item.pieces)
        if not body.size:
            raise BadInput(f"item {number} is empty: send an image")
        return await exchange(self.order.job(body, job_id, item.metadata, deadline), 0.0)
