"""The load: connections over TLS that are kept, each of which sends its next request when the last one is answered.

Made to cost little, since it shares the machine with what it measures: one thread, the kernel's epoll, OpenSSL on the
socket itself, and no HTTP but a length. It says what it cost. A closed loop says nothing of queues that users would
build; it is for comparing systems, request by request.
"""

from __future__ import annotations

import contextlib
import gc
import select
import socket
import ssl
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

HOST = "127.0.0.1"
NAME = "localhost"
"""On every certificate here."""
CONNECT_TIMEOUT_S = 10.0
STALL_S = 30.0
"""Without any event, those that wait have failed."""
SEND_BYTES = 256 << 10
"""Handed to OpenSSL at once; it writes records of 16 KiB."""
RECEIVE_BYTES = 16 << 10
"""An answer with its head is a hundredth of it; a longer one is a failure."""

WantsMore = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(frozen=True)
class Address:
    """Where requests go and what they carry."""

    port: int
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)

    def request(self, body_bytes: int) -> bytes:
        """One POST, whole, of so many zeros."""
        return self.carrying(bytes(body_bytes))

    def carrying(self, body: bytes) -> bytes:
        """One POST, whole, of this body."""
        head = {"Host": NAME, "Content-Type": "application/octet-stream", **self.headers, "Content-Length": len(body)}
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
        return "\r\n".join(lines).encode() + body


@dataclass
class Block:
    """What some seconds of load gave."""

    latencies_ns: array[int] = field(default_factory=lambda: array("q"))
    """Of the successes, from the first byte handed over to the last one of the answer."""
    failures: Counter[str] = field(default_factory=Counter)
    elapsed_ns: int = 0
    """Until the last answer."""
    cpu_ns: int = 0
    """The generator's own."""


class Failed(Exception):
    """A request without a good answer; the text is a reason that can be counted."""


class Connection:
    """One that is kept."""

    def __init__(self, port: int, request: bytes, tls: ssl.SSLContext) -> None:
        """Connects and shakes hands. Raises OSError."""
        plain = socket.create_connection((HOST, port), CONNECT_TIMEOUT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = tls.wrap_socket(plain, server_hostname=NAME)
        self._socket.setblocking(False)
        self._request = memoryview(request)
        self._buffer = bytearray(RECEIVE_BYTES)
        self._sent = self._received = 0
        self.began_ns = 0

    def fileno(self) -> int:
        """For epoll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Without a goodbye."""
        self._socket.close()

    def begin(self) -> None:
        """The next request starts now; `advance` sends it."""
        self._sent = self._received = 0
        self.began_ns = time.perf_counter_ns()

    def advance(self) -> bool:
        """Sends and receives what can be; whether the answer is whole. Raises Failed."""
        try:
            self._send()
            return self._receive()
        except WantsMore:
            return False
        except (OSError, ssl.SSLError) as error:
            raise Failed(type(error).__name__) from error

    def _send(self) -> None:
        while self._sent < len(self._request):
            self._sent += self._socket.send(self._request[self._sent : self._sent + SEND_BYTES])

    def _receive(self) -> bool:
        room = memoryview(self._buffer)
        while True:
            count = self._socket.recv_into(room[self._received :])
            if not count:
                raise Failed("closed" if self._received < RECEIVE_BYTES else "answer too long")
            self._received += count
            if is_whole(room[: self._received].tobytes()):
                return True


def is_whole(answer: bytes) -> bool:
    """Whether all of an answer is here. Raises Failed for one that is not 200, or has no length."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    status = head[9:12].decode("ascii", "replace")
    if status != "200":
        raise Failed(f"http_{status}")
    length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
    if not length:
        raise Failed("no length")
    return len(body) >= int(length)


@contextlib.contextmanager
def connected(port: int, request: bytes, number: int, tls: ssl.SSLContext) -> Iterator[Sequence[Connection]]:
    """So many connections that send this request, closed at the end. Raises OSError."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(Connection(port, request, tls))) for _ in range(number)]


def run_block(connections: Sequence[Connection], is_over: Callable[[int], bool]) -> Block:
    """Keeps every connection busy until `is_over` says so of the time in ns, then waits for what is in flight. A
    connection whose request failed is not used again."""
    block = Block()
    poll = select.epoll(len(connections))
    busy = {}
    with contextlib.closing(poll), _no_collections():
        began_ns, cpu_ns = time.perf_counter_ns(), time.process_time_ns()
        for one in connections:
            poll.register(one.fileno(), select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
            busy[one.fileno()] = one
            one.begin()
            _advance(one, busy, block, is_over)
        while busy:
            events = poll.poll(STALL_S)
            if not events:
                block.failures["stalled"] += len(busy)
                break
            for number, _ in events:
                if (ready := busy.get(number)) is not None:
                    _advance(ready, busy, block, is_over)
        block.elapsed_ns = time.perf_counter_ns() - began_ns
        block.cpu_ns = time.process_time_ns() - cpu_ns
    return block


def _advance(one: Connection, busy: dict[int, Connection], block: Block, is_over: Callable[[int], bool]) -> None:
    """As far as it goes: through an answer into the next request."""
    try:
        while one.advance():
            now_ns = time.perf_counter_ns()
            block.latencies_ns.append(now_ns - one.began_ns)
            if is_over(now_ns):
                del busy[one.fileno()]
                return
            one.begin()
    except Failed as failure:
        block.failures[str(failure)] += 1
        del busy[one.fileno()]


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """What is made here holds no cycles: nothing is to be looked for meanwhile."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
