"""What is counted in a window of time, and one connection of the load."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator, Sequence

import pytest

from bench.engines import window
from bench.engines.connection import Connection
from bench.engines.window import turned, watched, within
from bench.errors import BenchError


class Clock:
    """Time for `watched`, with one thread of steps: while it sleeps, exactly so many of them are done, each as long."""

    def __init__(self, steps: int) -> None:
        self.now = 0.0
        self._steps = steps
        self._allowed, self._looked = threading.Semaphore(0), threading.Semaphore(0)
        self.marks: list[float] = []

    def perf_counter(self) -> float:
        now = self.now
        if threading.current_thread() is not threading.main_thread():
            self._looked.release()
        return now

    def sleep(self, seconds: float) -> None:
        for _ in range(self._steps):
            assert self._looked.acquire(timeout=30)  # when it began
            self.now += seconds / self._steps
            self._allowed.release()

    def step(self) -> None:
        """Waits to be allowed one."""
        assert self._allowed.acquire(timeout=30)

    def mark(self) -> float:
        """The one at the end lets the step end that waits."""
        assert self._looked.acquire(timeout=30)  # the last of a sleep has ended
        self._looked.release()
        self.marks.append(self.now)
        if len(self.marks) == 2:
            self._allowed.release()
        return self.now


def test_only_the_window_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done before it began is not, and marks are read at both ends."""
    clock = Clock(50)
    monkeypatch.setattr(window, "time", clock)
    seen = watched([clock.step], 2.0, clock.mark)
    assert seen.elapsed_s == pytest.approx(2.0)
    assert [seen.before, seen.after] == clock.marks == pytest.approx([window.WARM_UP_S, window.WARM_UP_S + 2.0])
    assert seen.count == pytest.approx(50)


@pytest.mark.parametrize(
    ("times", "count"),
    [
        ((1.0, 2.0, 3.0), 2.0),
        ((0.5, 1.5, 2.5, 3.5), 2.0),
        ((0.0, 10.0), 0.2),
        ((0.0, 0.5, 1.0), 0.0),
        ((3.0, 4.0), 0.0),
        ((1.5, 1.5, 2.0), 1.0),
        ((), 0.0),
    ],
)
def test_a_step_across_an_edge_counts_in_part(times: Sequence[float], count: float) -> None:
    """By its time from 1.0 to 3.0, of all of it."""
    assert within(times, 1.0, 3.0) == pytest.approx(count)


def test_every_thread_has_all_images() -> None:
    """Each begins with another one, as far as there are others."""
    begun = [list(itertools.islice(one, 2)) for one in turned([b"a", b"b"], 3)]
    assert begun == [[b"a", b"b"], [b"b", b"a"], [b"a", b"b"]]


def test_a_step_that_fails_ends_all_of_them() -> None:
    """Its error is what is raised, and no thread is left."""

    def fail() -> None:
        raise BenchError("no")

    before = threading.active_count()
    with pytest.raises(BenchError, match="no"):
        watched([fail, lambda: None], 0.0, lambda: None)
    assert threading.active_count() == before


@contextlib.contextmanager
def server(*answers: bytes) -> Iterator[tuple[int, list[int]]]:
    """Answers requests of four bytes, and closes the connection behind an answer that says so; its port, and for
    each answer the number of the connection that had it."""
    had: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)  # a client that never comes again fails the test

        def serve() -> None:
            ahead, number = list(answers), 0
            while ahead:
                connection, _ = listener.accept()
                connection.settimeout(10)
                with connection:
                    while ahead and len(connection.recv(4)) == 4:
                        connection.sendall(answer := ahead.pop(0))
                        had.append(number)
                        if b"close" in answer:
                            break
                number += 1

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], had
        thread.join()


KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CLOSED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


def test_a_connection_is_kept_until_the_server_closes_it() -> None:
    """Then there is another one, without a failure."""
    with server(KEPT, KEPT, CLOSED, KEPT) as (port, had):
        connection = Connection(port, itertools.repeat(b"four"), None)
        for _ in range(4):
            connection.ask()
        connection.close()
    assert had == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "http_503"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\n{}", "cut off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + bytes(99999), "too long"),
    ],
)
def test_only_a_good_answer_counts(answer: bytes, why: str) -> None:
    """Anything else ends the measurement."""
    with (
        server(answer) as (port, _),
        contextlib.closing(Connection(port, itertools.repeat(b"four"), None)) as connection,
        pytest.raises(BenchError, match=why),
    ):
        connection.ask()
