"""WebSockets through the tunnel, between a client and a server that others wrote: everything is between those two."""

from __future__ import annotations

import http
import os
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request, Response
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server, ServerConnection, serve

from demo.stack import Stack

BIG = os.urandom(1 << 20)
WAIT_S = 30.0


class EchoServer:
    """Echoes every message as it came, tells what it saw, and does what a message asks for."""

    def __init__(self) -> None:
        self._ended: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        """The close code of each connection that is over."""
        self.headers: list[str | None] = []
        self.server: Server = serve(
            self._echo,
            *("127.0.0.1", 0),
            max_size=None,
            select_subprotocol=lambda _, offered: offered[0] if offered else None,
            process_request=self._look,
        )
        self.port = int(self.server.socket.getsockname()[1])
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self._thread.join(WAIT_S)

    def wait_ended(self, code: int) -> None:
        """Until a connection is over with that close code; one of a test before this may only end now."""
        while self._ended.get(timeout=WAIT_S) != code:
            pass

    def _look(self, connection: ServerConnection, request: Request) -> Response | None:
        self.headers.append(request.headers.get("X-Forwarded-Proto"))
        if request.path == "/forbidden":
            return connection.respond(http.HTTPStatus.FORBIDDEN, "not you\n")
        return None

    def _echo(self, connection: ServerConnection) -> None:
        try:
            for message in connection:
                if message == "close":
                    connection.close(4002, "as asked")
                elif message == "ping":
                    assert connection.ping().wait(WAIT_S)
                    connection.send("ponged")
                elif message == "cut":
                    connection.socket.shutdown(socket.SHUT_RDWR)
                else:
                    connection.send(message)
        finally:
            self._ended.put(connection.close_code)


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoServer]:
    server = EchoServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[str], Stack], echo: EchoServer) -> Stack:
    stack = new_stack("websocket")
    stack.start_gateway()
    stack.start_worker("worker-1", "--backend", "http", "--upstream", f"chat=http://127.0.0.1:{echo.port}")
    stack.wait_ready("chat", 1)
    return stack


Connect = Callable[..., AbstractContextManager[ClientConnection]]


@pytest.fixture
def dial(stack: Stack) -> Connect:
    """Opens a WebSocket to the server through the gateway."""
    context = ssl.create_default_context(cafile=stack.credentials.ca)
    token = stack.credentials.client_token.read_text().strip()

    def dial(path: str = "/", *, token: str = token, **options: object) -> AbstractContextManager[ClientConnection]:
        url = f"wss://localhost:{stack.port}/tunnel/chat{path}"
        headers = {"Authorization": f"Bearer {token}"}
        return connect(url, ssl=context, additional_headers=headers, max_size=None, proxy=None, **options)  # type: ignore[arg-type]

    return dial


@pytest.mark.parametrize("compression", ["deflate", None])
def test_messages_come_back_as_they_went(dial: Connect, compression: str | None) -> None:
    """Text, binary, empty ones and a megabyte, with the compression that the two ends agree on."""
    with dial(compression=compression) as websocket:
        for message in ("text", "größer", b"binary", "", b"", BIG):
            websocket.send(message)
            assert websocket.recv(WAIT_S) == message
        assert bool(websocket.protocol.extensions) == (compression is not None)


def test_fragments_and_many_at_once(dial: Connect) -> None:
    """A message in pieces arrives as one; messages keep their order."""
    with dial() as websocket:
        websocket.send(["a", "b", "c"])
        assert websocket.recv(WAIT_S) == "abc"
        for number in range(200):
            websocket.send(str(number))
        assert [websocket.recv(WAIT_S) for _ in range(200)] == [str(number) for number in range(200)]


def test_pings_pass_both_ways(dial: Connect) -> None:
    """Each end's ping is answered by the other end."""
    with dial() as websocket:
        assert websocket.ping().wait(WAIT_S)
        websocket.send("ping")
        assert websocket.recv(WAIT_S) == "ponged"


def test_close_codes_pass_both_ways(dial: Connect, echo: EchoServer) -> None:
    """The server hears the client's code and reason, and the client the server's."""
    with dial() as websocket:
        websocket.close(4001, "done")
    echo.wait_ended(4001)
    with dial() as websocket:
        websocket.send("close")
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(WAIT_S)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4002, "as asked")


def test_the_two_ends_agree_on_a_subprotocol(dial: Connect, echo: EchoServer) -> None:
    """What the client offers reaches the server, and its choice the client; the server learns that it was asked by
    TLS."""
    with dial(subprotocols=["chat.v1", "chat.v3"]) as websocket:
        assert websocket.subprotocol == "chat.v1"
    assert echo.headers[-1] == "https"


def test_a_server_may_refuse(dial: Connect) -> None:
    """Its own answer is the client's, and not an upgrade."""
    with pytest.raises(InvalidStatus) as refused, dial("/forbidden"):
        pass
    assert refused.value.response.status_code == 403
    assert refused.value.response.body == b"not you\n"


def test_a_token_is_needed(dial: Connect) -> None:
    """As for every request."""
    with pytest.raises(InvalidStatus) as refused, dial(token="none"):
        pass
    assert refused.value.response.status_code == 401


def test_a_lost_end_is_lost_for_the_other(dial: Connect, echo: EchoServer) -> None:
    """When the server's connection breaks, so does the client's, and the other way round."""
    with dial() as websocket:
        websocket.send("cut")
        with pytest.raises(ConnectionClosed):
            websocket.recv(WAIT_S)
    echo.wait_ended(1006)
    with dial() as websocket:
        websocket.send("here")
        assert websocket.recv(WAIT_S) == "here"
        websocket.socket.shutdown(socket.SHUT_RDWR)
    echo.wait_ended(1006)


def test_open_websockets_take_a_slot_each(stack: Stack, dial: Connect) -> None:
    """Eight stay open side by side, and the operator sees that many at work."""
    websockets = [dial() for _ in range(8)]
    try:
        for number, one in enumerate(websockets):
            one.__enter__().send(str(number))
        for number, one in enumerate(websockets):
            assert one.recv(WAIT_S) == str(number)  # type: ignore[attr-defined]
        models = stack.workers_view()[0]["models"]
        assert models[0]["running"] == 8
    finally:
        for one in websockets:
            one.__exit__(None, None, None)
