"""What the core wants done, and how it is told of an exchange that ended badly. Values only."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from gateway.dispatch.model import Link
from gateway.dispatch.policies import Assign
from gateway.dispatch.queue import Ticket
from gateway.dispatch.replica import Replica
from gateway.errors import GatewayError


class Failure(Enum):
    """How an exchange ended without an answer."""

    LOST = "lost"
    REFUSED = "refused"
    FAILED = "failed"


class Assigned(NamedTuple):
    """Send the job over `decision.replica.link`; end with answered, failed or cancel."""

    ticket: Ticket
    decision: Assign


class Rejected(NamedTuple):
    """The waiting job is answered with this error. The ticket has ended."""

    ticket: Ticket
    error: GatewayError


class Expired(NamedTuple):
    """The job's deadline passed. A queued ticket has ended; a running one ends by `cancel`, once the link is told."""

    ticket: Ticket


class ProbeDue(NamedTuple):
    """Run an inference of the worker's own sample, and report it with `probed`."""

    replica: Replica


class CloseLink(NamedTuple):
    """This link was superseded; its jobs are lost with it."""

    link: Link
    reason: str


Effect = Assigned | Rejected | Expired | ProbeDue | CloseLink
