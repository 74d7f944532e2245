"""THE table from a failure to an HTTP status, and the one document every failure is answered with.

Answers follow RFC 9457 (application/problem+json) with a member `error` besides; below the paths of a standard API they
have its own form. No status is chosen anywhere else, and no text of an unexpected exception reaches a client.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web

from gateway import errors

PROBLEM_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:edge-inference:error:"
"""`type` names the failure; it is a name and not an address, so that it means the same in every installation."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a client is told about one class of failure."""

    status: int
    title: str
    retry_after_s: float | None = None
    """Sent when the failure itself does not know better; None sends no Retry-After."""


STATUS_BY_ERROR: Mapping[type[errors.GatewayError], Entry] = {
    errors.BadRequest: Entry(400, "The request is not understood"),
    errors.BadInput: Entry(400, "The body is not a usable image"),
    errors.Unauthenticated: Entry(401, "A valid token is needed"),
    errors.Forbidden: Entry(403, "The token does not allow this"),
    errors.UnknownModel: Entry(404, "No such model"),
    errors.SlowBody: Entry(408, "The body arrived too slowly"),
    errors.PayloadTooLarge: Entry(413, "The body is too large"),
    errors.UnsupportedMedia: Entry(415, "The body is of a type that is not taken"),
    errors.QueueFull: Entry(429, "The queue is full", retry_after_s=1.0),
    errors.ClientGone: Entry(499, "The client closed its connection"),
    errors.Unsupported: Entry(501, "Not offered here"),
    errors.WorkerFailed: Entry(502, "The worker failed"),
    errors.WorkerLost: Entry(502, "The worker was lost"),
    # 503 and not 404: a name that is not here now may return, and balancers retry a 503 elsewhere.
    errors.UnknownWorker: Entry(503, "The worker is not here", retry_after_s=5.0),
    errors.NoWorker: Entry(503, "No worker serves the model", retry_after_s=5.0),
    errors.Draining: Entry(503, "The gateway is shutting down", retry_after_s=5.0),
    errors.DeadlineExceeded: Entry(504, "The deadline passed"),
}
"""Every class of gateway.errors; a test compares the two. 499 is nginx's number: nobody receives it, logs count it."""

CODE_BY_STATUS: Mapping[int, str] = {
    400: "bad_request",
    404: "no_such_path",
    405: "method_not_allowed",
    413: errors.PayloadTooLarge.code,
    415: errors.UnsupportedMedia.code,
    417: "expectation_failed",
    431: "headers_too_large",
    500: errors.GatewayError.code,
}
"""Names for what the HTTP library answers on its own."""

FAILURE_CODES = frozenset(error.code for error in STATUS_BY_ERROR) | frozenset(CODE_BY_STATUS.values())
"""Every reason for which a request can fail, under which it is also counted."""

PLAIN_PATHS = ("/v2", "/v1/models")
"""Below these the clients of Open Inference, TensorFlow Serving and KServe read `{"error": text}`."""
TORCHSERVE_PATHS = ("/predictions", "/ping")

INTERNAL = Entry(500, "The gateway failed")


@dataclass(frozen=True, slots=True)
class Problem:
    """One failure, ready to be sent."""

    status: int
    code: str
    title: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def document(self, request_id: str) -> dict[str, object]:
        """The members of RFC 9457, `code` and `error`. `instance` is the request's id, to be quoted to the operator."""
        return {
            "type": TYPE_PREFIX + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": request_id,
            "code": self.code,
            "error": self.detail,
        }

    def response(self, request_id: str, path: str) -> web.Response:
        """The answer to a request that failed, in the form of the API that the path belongs to."""
        kind, document = PROBLEM_TYPE, self.document(request_id)
        if path.startswith(TORCHSERVE_PATHS):
            kind, document = "application/json", self.torchserve()
        elif path.startswith(PLAIN_PATHS):
            kind, document = "application/json", {"error": self.detail}
        return web.Response(
            status=self.status, body=json.dumps(document).encode(), headers={"Content-Type": kind, **self.headers}
        )

    def torchserve(self) -> dict[str, object]:
        """The members that TorchServe's clients read, and `error`."""
        return {"code": self.status, "type": self.code, "message": self.detail, "error": self.detail}


def problem_of(error: errors.GatewayError) -> Problem:
    """The problem for a failure that was raised on purpose. A subclass is answered as its nearest listed ancestor."""
    for ancestor in type(error).__mro__:
        entry = STATUS_BY_ERROR.get(ancestor)
        if entry is not None:
            break
    else:
        entry = INTERNAL
    retry_after_s = entry.retry_after_s if error.retry_after_s is None else error.retry_after_s
    headers = {}
    if retry_after_s is not None:
        # RFC 9110 10.2.3: whole seconds. 0 would invite the client to spin.
        headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    if entry.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Problem(entry.status, error.code, entry.title, error.detail, headers)


def problem_of_status(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Problem:
    """The problem for what the HTTP library itself refuses: no such path, wrong method, unreadable request."""
    code = CODE_BY_STATUS.get(status, "http_error")
    title = HTTPStatus(status).phrase if status in _KNOWN_STATUSES else "HTTP error"
    return Problem(status, code, title, detail, headers or {})


def problem_of_http_exception(error: web.HTTPException, path: str, offer: str) -> Problem:
    """What aiohttp's router raises, in our words; `offer` says what there is instead. `Allow` is kept (RFC 9110
    15.5.6)."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        detail = f"{path} does not take {error.method}; it takes {allowed}"
        return problem_of_status(405, detail, {"Allow": allowed})
    if isinstance(error, web.HTTPNotFound):
        return problem_of_status(404, f"there is nothing at {path}; {offer}")
    return problem_of_status(error.status, error.text or error.reason)


def internal_problem() -> Problem:
    """An exception that nobody expected: the client learns the request's id and nothing else."""
    detail = "something unexpected happened in the gateway; its log has the reason under this request id"
    return Problem(INTERNAL.status, errors.GatewayError.code, INTERNAL.title, detail)


_KNOWN_STATUSES = frozenset(HTTPStatus)
