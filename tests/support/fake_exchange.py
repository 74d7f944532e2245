"""One exchange as a forwarder sees it: fits `edge_worker.backends.forwarding.Exchange`, and remembers what was said."""

from __future__ import annotations

from edge_worker.backends.forwarding import Headers, Sink


class FakeExchange:
    """`full_at`: bytes of answer after which it is full until `drain`."""

    def __init__(
        self,
        method: str = "GET",
        path: str = "/",
        headers: Headers = (),
        body: bytes | None = b"",
        *,
        service: str = "old",
        body_bytes: int | None = -1,
        full_at: int = 1 << 40,
    ) -> None:
        """`body` None: it is fed by hand. `body_bytes` -1: the length of `body`."""
        self.service, self.method, self.path, self.headers = service, method, path, headers
        self.body_bytes = len(body or b"") if body_bytes == -1 else body_bytes
        self._body = body
        self._full_at = full_at
        self.sink: Sink | None = None
        self.consumed_bytes = 0
        self.informed: list[tuple[int, Headers]] = []
        self.status = 0
        self.fields: Headers = ()
        self.length: int | None = None
        self.answer = b""
        self.trailers: Headers | None = None
        """None until the answer has ended."""

    def attach(self, sink: Sink) -> None:
        self.sink = sink
        if self._body is not None:
            if self._body:
                sink.body_received(self._body)
            sink.body_ended(())

    def feed(self, data: bytes) -> None:
        assert self.sink is not None
        self.sink.body_received(data)

    def finish(self, trailers: Headers = ()) -> None:
        assert self.sink is not None
        self.sink.body_ended(trailers)

    def consumed(self, size: int) -> None:
        self.consumed_bytes += size

    def inform(self, status: int, headers: Headers) -> None:
        self.informed.append((status, headers))

    def respond(self, status: int, headers: Headers, body_bytes: int | None) -> None:
        assert not self.status, "answered twice"
        self.status, self.fields, self.length = status, headers, body_bytes

    def send(self, data: bytes | memoryview) -> None:
        assert self.status
        self.answer += data

    def end(self, trailers: Headers = ()) -> None:
        assert self.trailers is None, "ended twice"
        self.trailers = trailers

    def flush(self) -> None:
        pass

    @property
    def is_full(self) -> bool:
        return len(self.answer) >= self._full_at

    def drain(self) -> None:
        """Takes everything from now on."""
        self._full_at = 1 << 40
        assert self.sink is not None
        self.sink.room_made()
