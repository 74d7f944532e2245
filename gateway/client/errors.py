"""Every way in which a picture can have no answer: a class to catch, a code that is stable, and what to do about it.

The gateway's codes are those of its problem documents (docs/reference/errors.md); the others are what this end saw.
Nothing here knows HTTP but the status that came.
"""

from __future__ import annotations

RETRIED_STATUS = frozenset({429, 503})
"""Refused before anything was begun, with a word on when to come back (RFC 9110 10.2.3)."""


class ClientError(Exception):
    """A picture that has no answer. The text is for people; decide by the class, the code or the status."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        status: int = 0,
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(code, detail)
        self.code = code
        """Stable: the gateway's, or one of this client's own."""
        self.detail = detail
        """What exactly, in the words of whoever noticed."""
        self.status = status
        """Of HTTP; of the picture's own entry in a batch; 0 without an answer."""
        self.request_id = request_id
        """Under which the gateway logged it; empty where it never answered."""
        self.retry_after_s = retry_after_s
        """Seconds after which the gateway wants to be asked again; None where it did not say."""
        self.tries = 1
        """How often it was tried."""

    def __str__(self) -> str:
        told = f"{self.code}: {self.detail}" if self.detail else self.code
        return f"{told} ({self.advice})" if self.advice else told

    @property
    def advice(self) -> str:
        """What to do, in a few words; empty where the detail says it."""
        return _ADVICE.get(self.code, "")

    @property
    def is_retried(self) -> bool:
        """Whether another try makes sense and is harmless: it was refused unbegun, or the connection was lost (a
        classification changes nothing, so a second one costs time and nothing else)."""
        return self.status in RETRIED_STATUS or self.is_lost

    @property
    def is_lost(self) -> bool:
        """Whether the connection is what failed, rather than the request."""
        return isinstance(self, ConnectionLost) or self.code == "timeout"

    @property
    def is_final(self) -> bool:
        """Whether every other picture would meet the same, so that there is no sense in going on."""
        return isinstance(self, NotAllowed | NotFound | CannotConnect)


class BadPicture(ClientError):
    """This picture cannot be classified: not an image, too large, unreadable here."""


class BadCall(ClientError):
    """The call itself is wrong: a parameter, a header."""


class NotAllowed(ClientError):
    """No token, one that does not verify, or one that is not for this model."""


class NotFound(ClientError):
    """No such model, path or method at this address."""


class Busy(ClientError):
    """There is no place for it right now, and patience ended."""


class TimedOut(ClientError):
    """No answer within `timeout_s`."""


class ServerFailed(ClientError):
    """The gateway or the worker failed at it."""


class CannotConnect(ClientError):
    """The address is wrong, or its certificate is not believed: does not mend by itself."""


class ConnectionLost(ClientError):
    """Nothing listens there right now, or the connection broke."""


class BadAnswer(ClientError):
    """An answer came that is none of a gateway's."""


_KINDS: dict[str, type[ClientError]] = {
    "bad_input": BadPicture,
    "payload_too_large": BadPicture,
    "unsupported_media_type": BadPicture,
    "unreadable": BadPicture,
    "bad_request": BadCall,
    "unsupported": BadCall,
    "expectation_failed": BadCall,
    "headers_too_large": BadCall,
    "unauthenticated": NotAllowed,
    "forbidden": NotAllowed,
    "no_such_path": NotFound,
    "unknown_model": NotFound,
    "method_not_allowed": NotFound,
    "queue_full": Busy,
    "no_worker": Busy,
    "draining": Busy,
    "unknown_worker": Busy,
    "deadline_exceeded": TimedOut,
    "slow_body": TimedOut,
    "timeout": TimedOut,
    "client_gone": ConnectionLost,
    "internal": ServerFailed,
    "worker_failed": ServerFailed,
    "worker_lost": ServerFailed,
    "dns": CannotConnect,
    "tls": CannotConnect,
    "not_http": CannotConnect,
    "refused": ConnectionLost,
    "closed": ConnectionLost,
    "reset": ConnectionLost,
    "cut_off": ConnectionLost,
    "not_json": BadAnswer,
    "bad_answer": BadAnswer,
    "no_predictions": BadAnswer,
}
_BY_STATUS: dict[int, type[ClientError]] = {
    400: BadCall, 401: NotAllowed, 403: NotAllowed, 404: NotFound, 405: NotFound, 408: TimedOut, 413: BadPicture,
    415: BadPicture, 421: CannotConnect, 429: Busy, 500: ServerFailed, 502: ServerFailed, 503: Busy, 504: TimedOut,
}  # fmt: skip
"""For an answer whose code is not known here: a proxy's, or a newer gateway's."""

_ADVICE = {
    "unauthenticated": "give a token: token=..., --token-file FILE, or the variable GATEWAY_TOKEN",
    "forbidden": "ask for a token whose scope covers this model: infer:MODEL or infer:*",
    "unknown_model": "is the model's name right, and was its worker ever connected?",
    "no_such_path": "give the gateway's address without a path",
    "queue_full": "send fewer at once, or add workers",
    "no_worker": "start a worker that serves this model",
    "draining": "this gateway is leaving: try again, or use another",
    "deadline_exceeded": "give more time with timeout_s, or add workers",
    "timeout": "give more time with timeout_s, or look at the network",
    "slow_body": "the way to the gateway is slower than it allows: send smaller pictures",
    "internal": "a bug: report it with the request's id",
    "worker_failed": "the worker's log says why, under the request's id",
    "dns": "no host has that name",
    "tls": "its certificate is not of a CA believed here, or not for this name: ca=..., --ca-file FILE or GATEWAY_CA",
    "not_http": "what listens there does not speak HTTP: is it http or https?",
    "refused": "nothing listens there",
    "closed": "it closed the connection without an answer: is it http or https?",
    "reset": "it reset the connection: is it http or https?",
    "no_predictions": "is the model a classifier?",
}


def error_of(
    code: str, detail: str = "", *, status: int = 0, request_id: str = "", retry_after_s: float | None = None
) -> ClientError:
    """The error of this code, or by the status where the code is not known."""
    kind = _KINDS.get(code) or _BY_STATUS.get(status, BadAnswer if status else ConnectionLost)
    return kind(code, detail, status=status, request_id=request_id, retry_after_s=retry_after_s)
