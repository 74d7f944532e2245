"""What the HTTP side needs from the rest of the gateway. Nothing else of it is known here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol

from gateway.dispatch.model import Job, ModelOffer, Reply


class Dispatcher(Protocol):
    """Gives jobs to workers, and knows them."""

    def open_request(self) -> AbstractContextManager[None]:
        """Around a request, from the moment it is accepted: draining waits for it. Raises Draining."""

    def exchange(self, job: Job) -> AbstractAsyncContextManager[Reply]:
        """Entering waits for the reply's head and raises GatewayError; leaving early cancels the work."""

    @property
    def models(self) -> Mapping[str, int]:
        """Every model ever announced, and how many workers are ready for it now."""

    def offer(self, model: str, worker: str = "") -> ModelOffer | None:
        """What this worker announces of the model; without a name, what one that is ready does, else any that is here.
        None when there is no such announcement."""

    def versions(self, model: str) -> Sequence[str]:
        """The versions of the model that workers announce now, each once."""

    @property
    def is_draining(self) -> bool:
        """No new request is taken any more."""

    def queued(self, model: str) -> int:
        """Jobs of this model that wait for a worker."""

    @property
    def in_flight(self) -> int:
        """Jobs waiting or running."""

    def workers_view(self) -> Sequence[Mapping[str, object]]:
        """Every worker as JSON values, for operators."""


class Principal(Protocol):
    """A verified token's bearer."""

    @property
    def subject(self) -> str:
        """Who it is."""

    @property
    def is_admin(self) -> bool:
        """Whether the operator's view of the workers is open to it."""

    def require_infer(self, model: str) -> None:
        """Raises Forbidden unless this model may be used."""


class Authenticator(Protocol):
    """Verifies tokens."""

    def authenticate(self, authorization_header: str | None) -> Principal:
        """Raises Unauthenticated."""
