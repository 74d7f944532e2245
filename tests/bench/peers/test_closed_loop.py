"""The load against a TLS server of this test: what it sends, counts and gives up."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.peers.closed_loop import Address, Failed, connected, is_whole, run_block
from tests.support.certificates import made

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("certificates"))


Answer = Callable[[int], bytes]
"""From a request's place on its connection, from 0; b"" closes."""


@contextlib.contextmanager
def server(files: Path, answer: Answer, request_bytes: int, connections: int) -> Iterator[tuple[int, ssl.SSLContext]]:
    """Answers requests of one length on so many connections, each on a thread; its port, and whom to trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files / "server.pem", files / "server.key")

    def serve(plain: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
            place = 0
            while True:
                left = request_bytes
                while left and (data := connection.recv(left)):
                    left -= len(data)
                if left or not (said := answer(place)):
                    return
                connection.sendall(said)
                place += 1

    threads = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            for _ in range(connections):
                threads.append(threading.Thread(target=serve, args=(listener.accept()[0],)))
                threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        yield listener.getsockname()[1], ssl.create_default_context(cafile=files / "ca.pem")
        accepting.join()
        for thread in threads:
            thread.join()


def after(requests: int) -> Callable[[int], bool]:
    """Is over when so many answers were seen."""
    seen = iter(range(1, requests + 1))
    return lambda _now_ns: next(seen, requests) >= requests


def test_a_request_is_whole() -> None:
    """Head, length and body; headers of the system are in it."""
    request = Address(1, "/x", {"Authorization": "Bearer t"}).request(3)
    head, _, body = request.partition(b"\r\n\r\n")
    assert body == bytes(3)
    assert head.startswith(b"POST /x HTTP/1.1\r\nHost: localhost\r\n")
    assert b"\r\nAuthorization: Bearer t\r\nContent-Length: 3" in head


@pytest.mark.parametrize("length", [0, 1000, 300_000])
def test_each_connection_sends_again_when_answered(files: Path, length: int) -> None:
    """Two connections and seven answers: at least as many latencies, and all that was in flight is waited for."""
    request = Address(0).request(length)
    with (
        server(files, lambda _place: GOOD, len(request), 2) as (port, tls),
        connected(port, request, 2, tls) as connections,
    ):
        block = run_block(connections, after(7))
        again = run_block(connections, after(1))
    assert len(block.latencies_ns) == 8  # the seventh ends it, and the other connection's is still there
    assert len(again.latencies_ns) == 2
    assert not block.failures
    assert 0 < min(block.latencies_ns) <= max(block.latencies_ns) <= block.elapsed_ns
    assert block.cpu_ns > 0


def test_a_failure_is_counted_and_ends_its_connection(files: Path) -> None:
    """A 503, and a connection that is closed: what was answered before still counts."""
    request = Address(0).request(10)
    bad = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    for answers, reason in (((GOOD, bad), "http_503"), ((GOOD, b""), "closed")):
        with (
            server(files, answers.__getitem__, len(request), 1) as (port, tls),
            connected(port, request, 1, tls) as connections,
        ):
            block = run_block(connections, after(100))
        assert len(block.latencies_ns) == 1
        assert block.failures == {reason: 1}


def test_an_answer_is_whole_with_its_body() -> None:
    """Not before; without a length nobody could say."""
    assert [is_whole(GOOD[:end]) for end in (5, len(GOOD) - 3, len(GOOD) - 1, len(GOOD))] == [False, False, False, True]
    with pytest.raises(Failed, match="no length"):
        is_whole(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with pytest.raises(Failed, match="http_404"):
        is_whole(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
