"""A client that writes HTTP by hand over TLS and reads what comes, piece by piece."""

from __future__ import annotations

import contextlib
import socket
import ssl
from types import TracebackType

from demo.stack import Stack


class TlsClient:
    """One connection to a stack's gateway."""

    def __init__(self, stack: Stack, token: str | None = None, timeout_s: float = 30.0) -> None:
        self._token = stack.credentials.client_token.read_text().strip() if token is None else token
        context = ssl.create_default_context(cafile=stack.credentials.ca)
        plain = socket.create_connection(("localhost", stack.port), timeout=timeout_s)
        self._socket = context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)
        self._received = b""

    def __enter__(self) -> TlsClient:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, line: str, *fields: str, body: bytes = b"", host: str = "localhost") -> None:
        """Sends a request's head with the token, and what is given of its body."""
        lines = [f"{line} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {self._token}", *fields, "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + body)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def until(self, mark: bytes) -> bytes:
        """What comes up to and with the mark. Raises EOFError when the connection ends before."""
        while mark not in self._received:
            self._more()
        found, _, rest = self._received.partition(mark)
        self._received = rest
        return found + mark

    def exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            self._more()
        found, self._received = self._received[:size], self._received[size:]
        return found

    def head(self) -> tuple[int, dict[str, str]]:
        """The next head: its status, and its fields with names in lower case."""
        line, *lines = self.until(b"\r\n\r\n").decode("latin-1").strip().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
        return int(line.split(" ")[1]), fields

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """A whole answer with a length."""
        status, fields = self.head()
        return status, fields, self.exactly(int(fields.get("content-length", "0")))

    def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty is the last."""
        size = int(self.until(b"\r\n"), 16)
        data = self.exactly(size)
        if size:
            assert self.exactly(2) == b"\r\n"
        return data

    def rest(self) -> bytes:
        """Everything until the connection ends, in whatever way."""
        with contextlib.suppress(EOFError):
            while True:
                self._more()
        return self._received

    def close(self) -> None:
        self._socket.close()

    def _more(self) -> None:
        try:
            data = self._socket.recv(1 << 18)
        except (ConnectionError, ssl.SSLError) as error:
            raise EOFError(f"the connection was cut: {error}; before: {self._received[-200:]!r}") from error
        if not data:
            raise EOFError(f"the connection ended; before: {self._received[-200:]!r}")
        self._received += data
