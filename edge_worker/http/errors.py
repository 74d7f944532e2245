"""What a client is told about a failure: the gateway's codes, statuses and document (docs/reference/errors.md).

The two must agree, so that a direct and a tunnelled run fail alike; neither imports the other, and a test compares the
tables. No text of an unexpected exception reaches a client.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from edge_worker.exchange_runner import NotAnswered
from edge_worker.http.head import shown
from wire.errors import ExchangeCode

PROBLEM_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:edge-inference:error:"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a client is told about one code."""

    status: int
    title: str
    retry_after_s: float | None = None
    """Sent as Retry-After; None where trying again does not help."""


ENTRIES: Mapping[str, Entry] = {
    "bad_request": Entry(400, "The request is not understood"),
    "bad_input": Entry(400, "The body is not a usable image"),
    "unknown_model": Entry(404, "No such model"),
    "slow_body": Entry(408, "The body arrived too slowly"),
    "payload_too_large": Entry(413, "The body is too large"),
    "unsupported_media_type": Entry(415, "The body is of a type that is not taken"),
    "queue_full": Entry(429, "The queue is full", retry_after_s=1.0),
    "client_gone": Entry(499, "The client closed its connection"),
    "worker_failed": Entry(502, "The worker failed"),
    "no_worker": Entry(503, "No worker serves the model", retry_after_s=5.0),
    "draining": Entry(503, "The server is shutting down", retry_after_s=5.0),
    "deadline_exceeded": Entry(504, "The deadline passed"),
}

CODE_BY_STATUS: Mapping[int, str] = {
    400: "bad_request",
    404: "no_such_path",
    405: "method_not_allowed",
    413: "payload_too_large",
    415: "unsupported_media_type",
    417: "expectation_failed",
    431: "headers_too_large",
    500: "internal",
}
"""Names for what the HTTP library answers on its own."""

CODE_OF_EXCHANGE: Mapping[ExchangeCode, str] = {
    ExchangeCode.DEADLINE: "deadline_exceeded",
    ExchangeCode.OVERLOADED: "queue_full",
    ExchangeCode.DRAINING: "draining",
    ExchangeCode.UNKNOWN_MODEL: "unknown_model",
    ExchangeCode.BAD_REQUEST: "bad_request",
    ExchangeCode.BAD_INPUT: "bad_input",
    ExchangeCode.UNSUPPORTED_MEDIA_TYPE: "unsupported_media_type",
    ExchangeCode.PAYLOAD_TOO_LARGE: "payload_too_large",
}
"""What else an exchange can end with is the worker's failure."""


class RequestFailed(Exception):
    """A failure with a message fit for the client. `code` is one of ENTRIES."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Problem:
    """One failure, ready to be sent."""

    status: int
    code: str
    title: str
    detail: str
    headers: Mapping[str, str]

    def document(self, request_id: str) -> dict[str, object]:
        """The members of RFC 9457, `code`, and `error` for clients of other inference APIs."""
        return {
            "type": TYPE_PREFIX + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": request_id,
            "code": self.code,
            "error": self.detail,
        }

    def response(self, request_id: str) -> web.Response:
        """The answer to a request that failed."""
        body = json.dumps(self.document(request_id)).encode()
        return web.Response(status=self.status, body=body, headers={"Content-Type": PROBLEM_TYPE, **self.headers})


def failure_of(result: NotAnswered) -> RequestFailed:
    """An exchange that failed, as a client is told."""
    return RequestFailed(CODE_OF_EXCHANGE.get(result.code, "worker_failed"), result.text)


def problem_of(error: RequestFailed) -> Problem:
    """The problem for a failure that was raised on purpose."""
    entry = ENTRIES[error.code]
    # RFC 9110 10.2.3: whole seconds
    headers = {} if entry.retry_after_s is None else {"Retry-After": str(math.ceil(entry.retry_after_s))}
    return Problem(entry.status, error.code, entry.title, error.detail, headers)


def problem_of_status(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Problem:
    """The problem for what the HTTP library refuses by itself."""
    title = HTTPStatus(status).phrase if status in set(HTTPStatus) else "HTTP error"
    return Problem(status, CODE_BY_STATUS.get(status, "http_error"), title, detail, headers or {})


def problem_of_http_exception(error: web.HTTPException, path: str) -> Problem:
    """What aiohttp's router raises. `Allow` is kept (RFC 9110 15.5.6)."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return problem_of_status(405, f"{path} does not take {error.method}; it takes {allowed}", {"Allow": allowed})
    if isinstance(error, web.HTTPNotFound):
        return problem_of_status(404, f"there is nothing at {path}")
    if isinstance(error, web.HTTPExpectationFailed):
        return problem_of_status(417, f"Expect: {shown(error.text or '')} is not known here")
    return problem_of_status(error.status, error.text or error.reason)


def internal_problem() -> Problem:
    """An exception that nobody expected: the client learns the request's id and nothing else."""
    detail = "something unexpected happened in the server; its log has the reason under this request id"
    return Problem(500, "internal", "The server failed", detail, {})
