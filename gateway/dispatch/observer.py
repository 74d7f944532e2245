"""What dispatch tells whoever counts and logs. Metrics implement it; dispatch knows no metrics library.

Called synchronously from inside a decision: an observer must be quick, must not await and must not raise.
"""

from __future__ import annotations

from typing import Protocol

from gateway.dispatch.model import Job


class Observer(Protocol):
    """Counted by `ended` alone, every job appears exactly once; the other calls say what happened on the way."""

    def job_assigned(self, job: Job, worker: str, queue_s: float) -> None:
        """A worker was chosen; `queue_s` is this attempt's wait, in seconds."""

    def job_retried(self, job: Job, worker: str, reason: str) -> None:
        """The job came back from this worker without an answer and goes to another."""

    def job_ended(self, job: Job, outcome: str, worker: str) -> None:
        """`outcome`: "answered", "cancelled" (the client left), or the `code` of the GatewayError it was answered with.
        `worker` is the last one chosen, empty if none was. A job that `submit` refused never began, so never ends."""

    def worker_changed(self, worker: str, model: str, state: str, reason: str) -> None:
        """A worker joined or left (`model` empty), drains, or its readiness for a model changed."""


class NullObserver:
    """Counts nothing."""

    def job_assigned(self, job: Job, worker: str, queue_s: float) -> None: ...

    def job_retried(self, job: Job, worker: str, reason: str) -> None: ...

    def job_ended(self, job: Job, outcome: str, worker: str) -> None: ...

    def worker_changed(self, worker: str, model: str, state: str, reason: str) -> None: ...
