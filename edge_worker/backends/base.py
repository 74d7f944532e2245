"""What a worker needs from anything that computes. Implemented by `echo`, `opencv_dnn` and others to come.

A backend answers one call at a time per slot; admission, deadlines and cancellation are the caller's
(`exchange_runner.py`). It never sees a frame or a socket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


class BadInput(Exception):
    """The client's fault: the body is not something this model can take. `code` is one of CODES."""

    CODES = ("bad_request", "bad_input", "unsupported_media_type", "payload_too_large", "unknown_model")

    def __init__(self, code: str, detail: str) -> None:
        assert code in self.CODES, code
        super().__init__(detail)
        self.code = code


class BackendFailed(Exception):
    """The engine's fault: the input was good and the computation failed."""


class NotReady(Exception):
    """Nothing was begun: the model's engine is being replaced. Another worker may have the call."""


class BackendLost(Exception):
    """What computes is gone, or of no more use: only a new process can help. The text says why."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model as the worker announces it in HELLO."""

    name: str
    version: str
    slots: int
    """Calls of this model that run at the same moment, at least 1."""
    failure: str = ""
    """Which file and why, when the model cannot be served; empty when it can."""
    metadata: Mapping[str, object] = field(default_factory=dict)
    """JSON values only: input, output, labels, weights, engine."""
    ahead: int = 0
    """Calls that the backend takes beyond its slots, so that one that becomes free has its next call at hand."""


@dataclass(slots=True)
class Call:
    """One request, whole. `path` still carries its query string."""

    model: str
    method: str
    path: str
    metadata: Sequence[tuple[str, str]]
    body: bytes | memoryview
    deadline_at: float | None = None
    """When its answer is worth nothing any more, in seconds of the monotonic clock; None for never."""


@dataclass(slots=True)
class Answer:
    """One response, whole. `durations_s` is in the order in which the steps ran."""

    body: bytes
    content_type: str = "application/json"
    status: int = 200
    durations_s: Mapping[str, float] = field(default_factory=dict)
    """Seconds by step: decode, preprocess, batch_wait, inference, postprocess."""
    metadata: Sequence[tuple[str, str]] = ()
    """What the head says besides the content type."""


Changed = Callable[[Sequence[ServedModel]], None]
"""Takes all models anew, when one of them failed or is ready again."""


class Backend(Protocol):
    """Something that computes."""

    name: str

    async def start(self) -> Sequence[ServedModel]:
        """Loads and warms up every model; returns them all, the failed ones with their reason. Called once. Raises
        ValueError for settings that cannot be used, BackendLost when what computes ends meanwhile."""

    async def answer(self, call: Call) -> Answer:
        """Computes. Raises BadInput, BackendFailed or NotReady. Cancelling the task drops what has not begun."""

    async def probe(self, model: str) -> Answer:
        """The real path on a sample of the backend's own, to prove that the model still answers. Raises as `answer`."""

    async def watch(self, changed: Changed) -> None:
        """Tells what breaks while it serves, and mends it, until cancelled; returns at once where nothing can break.
        Raises BackendLost when it cannot be mended from here; what still can be answered is."""

    async def close(self) -> None:
        """Releases threads and engines. Called once; no call is in flight then."""


class Work(Protocol):
    """One call on its way to a thread of a backend."""

    def begin(self) -> None:
        """Has it wait for a thread. From any thread, once."""

    def claim(self) -> bool:
        """True when it has not begun; then it never will, and nothing is told."""


Tell = Callable[[Any, BaseException | None], None]
"""Takes what a work returned (hence Any), or what it raised. Called on the thread that did it, or on the event loop
where it is given up or refused."""


@runtime_checkable
class ThreadedBackend(Protocol):
    """One whose threads can take calls with no event loop in between."""

    @property
    def is_threaded(self) -> bool:
        """Whether that is so for every model that it has loaded."""

    def work(self, call: Call, tell: Tell) -> Work | None:
        """On any thread. Raises BadInput or NotReady; what `answer` returns or raises besides is told. None for a call
        that needs the event loop: `answer` takes it."""


@runtime_checkable
class DirectBackend(Protocol):
    """One that can also compute on the thread that asks, with nothing in between."""

    def direct(self, model: str) -> Callable[[Call], Answer] | None:
        """For one call at a time; raises what `answer` does. None for a model whose calls must meet each other."""
