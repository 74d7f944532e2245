"""Where a model's jobs wait: bounded in jobs and bytes, high priority first, first come first served within one.

Late binding happens here: a job stays until a worker has a credit for it, so a stall hurts few. Jobs that may not run
everywhere (pinned to a worker, or already failed on one) wait in a lane of their own and hold nobody else up.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from gateway.dispatch.model import Job
from gateway.dispatch.replica import Replica


class Stage(Enum):
    """A ticket goes QUEUED -> RUNNING (-> QUEUED once more, if the worker is lost) -> ENDED."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"


class Lane(NamedTuple):
    """What jobs of one lane have in common: where they may run. The head of a lane speaks for all of it."""

    pin: str | None = None
    excluded: frozenset[str] = frozenset()
    """Workers to avoid while another one is ready."""


ANYWHERE = Lane()


@dataclass(slots=True, eq=False)
class Ticket:
    """One job's way through dispatch. Written by the core alone."""

    job: Job
    number: int
    """Order of submission."""
    queued_at: float
    lane: Lane = ANYWHERE
    stage: Stage = Stage.QUEUED
    replica: Replica | None = None
    """Where it runs; after that, where it ran last."""
    assigned_at: float = 0.0
    is_answering: bool = False
    """The head of a stream's answer is here: its deadline, which was for that, is kept."""
    queue_s: float = 0.0
    """Time in the queue over all attempts so far."""
    attempts: int = 0
    losses: int = 0
    """Attempts that a worker started and did not finish."""
    refusals: int = 0
    """Attempts that a worker refused to start."""

    @property
    def deadline(self) -> float:
        """When it ends by itself; never once a stream's answer has begun."""
        return math.inf if self.is_answering else self.job.deadline

    @property
    def place(self) -> tuple[int, int]:
        """Its order among all jobs of the model, lower first."""
        return self.job.priority, self.number


_Lines = dict[int, "OrderedDict[Ticket, None]"]


class ModelQueue:
    """The jobs of one model that no worker has yet."""

    def __init__(self, max_jobs: int, max_bytes: int) -> None:
        self._max_jobs = max_jobs
        self._max_bytes = max_bytes
        self._alone: Ticket | None = None
        """The job that found nobody waiting, until another comes: most leave as they come, and need no lane."""
        self._lanes: dict[Lane, _Lines] = {}
        self.jobs = 0
        self.bytes = 0

    def has_room(self, job: Job) -> bool:
        """Whether one more may wait. An empty queue takes any job, or one over the byte bound could never run."""
        if not self.jobs:
            return True
        return self.jobs < self._max_jobs and self.bytes + job.queued_bytes <= self._max_bytes

    def push(self, ticket: Ticket) -> None:
        """At the end of its priority in its lane. The bounds are the caller's to ask for: a job that comes back from a
        worker was accepted, and stands before the other lanes by its number."""
        if not self.jobs:
            self._alone = ticket
        else:
            if self._alone is not None:
                self._line_up(self._alone)
                self._alone = None
            self._line_up(ticket)
        self.jobs += 1
        self.bytes += ticket.job.queued_bytes

    def remove(self, ticket: Ticket) -> None:
        self.jobs -= 1
        self.bytes -= ticket.job.queued_bytes
        if ticket is self._alone:
            self._alone = None
            return
        lines = self._lanes[ticket.lane]
        line = lines[ticket.job.priority]
        del line[ticket]
        if not line:
            del lines[ticket.job.priority]
            if not lines:
                del self._lanes[ticket.lane]

    def head(self, blocked: Collection[Lane] = ()) -> Ticket | None:
        """The next job in order, of the lanes that are not blocked."""
        best = self._alone
        if best is not None:
            return None if blocked and best.lane in blocked else best
        for lane, lines in self._lanes.items():
            if lane in blocked:
                continue
            ticket = next(iter(lines[min(lines)]))
            if best is None or ticket.place < best.place:
                best = ticket
        return best

    def take_all(self) -> list[Ticket]:
        """Empties the queue, in order."""
        tickets = [ticket for lines in self._lanes.values() for line in lines.values() for ticket in line]
        if self._alone is not None:
            tickets.append(self._alone)
        self._alone = None
        self._lanes.clear()
        self.jobs = self.bytes = 0
        return sorted(tickets, key=lambda ticket: ticket.place)

    def _line_up(self, ticket: Ticket) -> None:
        self._lanes.setdefault(ticket.lane, {}).setdefault(ticket.job.priority, OrderedDict())[ticket] = None
