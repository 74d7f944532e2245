"""All pictures of a folder, some requests at a time, each until it is answered or given up.

The first request goes alone: what is wrong with address, token or model shows in it, and is said at once. When to try
again is the client's. Whatever ends a run early, the results so far are there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.classification.folder import Picture
from bench.classification.labels import Truth, truth_of
from bench.classification.score import Result
from gateway.client import ClientError, Outcome
from gateway.client.retry import Patience


class Classifier(Protocol):
    """What is needed of `gateway.client.AsyncClient`."""

    async def classify_batch(self, pictures: Sequence[Path], *, model: str) -> list[Outcome]:
        """An outcome for each picture, in order. Raises nothing but when cancelled."""

    @property
    def patience(self) -> Patience:
        """Whether the address ever answered."""


@dataclass
class Run:
    """One walk through the pictures. `go` once."""

    client: Classifier
    model: str
    truths: Mapping[str, Truth]
    concurrency: int
    on_result: Callable[[Result], None] = lambda _result: None
    results: list[Result] = field(default_factory=list)
    """Of the pictures that are over, in the order in which they were."""
    final: ClientError | None = None
    """What ended the run early, since it would have met every picture."""

    async def go(self, batches: Iterable[Sequence[Picture]]) -> None:
        """Ends when all are over, or `final` is set. Cancelled: what is in flight is dropped."""
        ahead = iter(batches)
        first = next(ahead, None)
        if first is not None:
            await self._settle(first)
        async with asyncio.TaskGroup() as group:
            for _ in range(self.concurrency):
                group.create_task(self._take(ahead))

    async def _take(self, ahead: Iterable[Sequence[Picture]]) -> None:
        for batch in ahead:
            if self.final is not None:
                return
            await self._settle(batch)

    async def _settle(self, pictures: Sequence[Picture]) -> None:
        outcomes = await self.client.classify_batch([picture.path for picture in pictures], model=self.model)
        for picture, outcome in zip(pictures, outcomes, strict=True):
            if isinstance(outcome, ClientError) and self._is_final(outcome):
                self.final = outcome
                return
            self._note(picture, outcome)

    def _is_final(self, error: ClientError) -> bool:
        """A connection that was never there is a wrong address; one that is lost may come back."""
        return error.is_final or (error.is_lost and not self.client.patience.has_answered)

    def _note(self, picture: Picture, outcome: Outcome) -> None:
        truth = truth_of(picture.name, self.truths)
        if isinstance(outcome, ClientError):
            result = Result(picture.name, (), "", outcome.code, outcome.detail, outcome.tries, truth)
        else:
            result = Result(picture.name, outcome.predictions, outcome.worker, tries=outcome.tries, truth=truth)
        self.results.append(result)
        self.on_result(result)
