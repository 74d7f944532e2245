"""What a client can be told.

Every way a request can fail is one class here, with a stable machine-readable `code` and a sentence that says
what to do. No HTTP status appears in this file: the one table that maps these to statuses is
`gateway/http/errors.py`. Nothing here knows who raises it or who renders it.
"""

from __future__ import annotations


class GatewayError(Exception):
    """A failure with a message fit for the client. `code` is stable; the text may improve."""

    code = "internal"

    def __init__(self, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        """Seconds after which trying again makes sense; None where trying again does not help."""


class BadRequest(GatewayError):
    """The request itself is wrong: a header, a parameter, a multipart body that does not parse."""

    code = "bad_request"


class BadInput(GatewayError):
    """The body arrived whole but is not an image that can be used: not an image, truncated, empty."""

    code = "bad_input"


class UnsupportedMedia(GatewayError):
    """The Content-Type is one that this endpoint does not take."""

    code = "unsupported_media_type"


class PayloadTooLarge(GatewayError):
    """Over the limit of bytes, pixels or multipart parts."""

    code = "payload_too_large"


class SlowBody(GatewayError):
    """The client sent its body more slowly than the configured limit."""

    code = "slow_body"


class Unauthenticated(GatewayError):
    """No token, or one that does not verify: expired, forged, wrong issuer or audience, revoked."""

    code = "unauthenticated"


class Forbidden(GatewayError):
    """The token is good, but not for this."""

    code = "forbidden"


class UnknownModel(GatewayError):
    """No worker ever announced this model."""

    code = "unknown_model"


class UnknownWorker(GatewayError):
    """The request is pinned to a worker that is not here."""

    code = "unknown_worker"


class QueueFull(GatewayError):
    """The model's queue is at its bound of jobs or bytes. Always carries `retry_after_s`."""

    code = "queue_full"


class NoWorker(GatewayError):
    """The model is known, but no worker serves it right now. Always carries `retry_after_s`."""

    code = "no_worker"


class Draining(GatewayError):
    """This gateway is leaving and takes no new work. Always carries `retry_after_s`."""

    code = "draining"


class DeadlineExceeded(GatewayError):
    """The request's deadline passed before an answer came."""

    code = "deadline_exceeded"


class WorkerLost(GatewayError):
    """The worker's tunnel went away before it answered, and the job could not be given to another."""

    code = "worker_lost"


class WorkerFailed(GatewayError):
    """The worker answered that its engine failed on this job."""

    code = "worker_failed"


class Unsupported(GatewayError):
    """Understood, but nothing that this gateway or this model does."""

    code = "unsupported"


class ClientGone(GatewayError):
    """The client closed its connection; nobody reads this answer, it is only counted and logged."""

    code = "client_gone"
