"""The request with which a worker asks a server whether it is well: an exchange whose answer is dropped."""

from __future__ import annotations

from edge_worker.backends.forwarding import Headers, Sink


class Checkup:
    """Fits `Exchange`: GET of the health path, without a body."""

    is_full = False

    def __init__(self, service: str, path: str) -> None:
        self.service = service
        self.method = "GET"
        self.path = path
        self.headers: Headers = (("user-agent", "edge-worker"), ("accept", "*/*"))
        self.body_bytes: int | None = 0
        self.failure = ""
        """Why the answer is not a good one; empty when it is."""

    def attach(self, sink: Sink) -> None:
        """There is no body."""
        sink.body_ended(())

    def consumed(self, size: int) -> None:
        """Nothing is ever consumed of nothing."""

    def inform(self, status: int, headers: Headers) -> None:
        """Says nothing of the server's health."""

    def respond(self, status: int, headers: Headers, body_bytes: int | None) -> None:
        """A server that answers with its own error is not well."""
        if status >= 500:
            self.failure = f"the server answers {self.path} with status {status}"

    def send(self, data: bytes | memoryview) -> None:
        """The answer's body is not looked at."""

    def end(self, trailers: Headers = ()) -> None:
        """The answer was whole."""

    def flush(self) -> None:
        """Nobody is told."""
