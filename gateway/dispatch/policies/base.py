"""What a policy is asked and what it may answer.

A policy is a pure object: no clock, no global random, no await, no change to what it is shown. It may draw from the
generator it was built with. The same object runs in the gateway, in unit tests and in a simulator.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

from gateway.dispatch.model import Job
from gateway.dispatch.pool import Pool
from gateway.dispatch.replica import Replica
from gateway.errors import GatewayError


class Assign(NamedTuple):
    """Give the job to this replica now. It has a free credit."""

    replica: Replica
    why: str
    """With a `{}` for each of `values`: few reasons are ever read, so none is written out before that."""
    values: tuple[object, ...] = ()

    @property
    def reason(self) -> str:
        """Why, in words."""
        return self.why.format(*self.values)


class Wait(NamedTuple):
    """Keep the job. It is asked again at the next change of the model's workers or queue, at latest at `until`."""

    why: str
    """As in Assign."""
    values: tuple[object, ...] = ()
    until: float = math.inf

    @property
    def reason(self) -> str:
        """Why, in words."""
        return self.why.format(*self.values)


class Reject(NamedTuple):
    """Answer the job with this error: waiting would not help."""

    error: GatewayError
    reason: str


Decision = Assign | Wait | Reject

NO_CREDIT = Wait("every credit of every ready worker is taken")


class Policy(Protocol):
    """Chooses a worker for the job at the head of a queue."""

    name: str
    pins: bool
    """True when `job.pin` is honoured; such jobs then do not hold up the ones behind them."""

    def rank(self, replica: Replica, now: float) -> float:
        """The order in which this policy wants to see replicas, lower first; see `pool.Rank` for what it must keep."""

    def choose(self, job: Job, pool: Pool, waiting: int, now: float) -> Decision:
        """Decides for this job. `waiting` counts the model's jobs in the queue, this one included."""
