"""The engine process's end of the stream: who reads it, and where what was read waits.

While a thread has nothing to do the event loop reads, and hands out what comes. When all of them compute nobody does,
and the thread that is done first looks for its next call itself: at full load a picture takes no turn of the event
loop, which would come with a wake-up and cold caches between two pictures (docs/explanation/performance.md). What is
sent is written by whoever has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable

from edge_worker.backends.engine_process.messages import Decoder, MalformedMessage, Message, encode
from edge_worker.backends.lanes import Work

READ_BYTES = 256 << 10
"""What any socket holds (process.py): one read finds all that was said, a call and that it is not wanted any more."""
IN_USE_S = 10.0
"""Seconds after its last call in which a model's idle threads keep the event loop reading. The first call after that
may have to wait until a thread of another model is done, or for the next `poll`. The same after a call that no socket
holds: of the next one half would still be on its way when a thread asks for it."""


class Desk:
    """Belongs to one event loop. Nothing is read before it is opened."""

    def __init__(
        self,
        end: socket.socket,
        take: Callable[[Message], bool],
        on_message: Callable[[Message], None],
        on_end: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`take` sees each message first, on whichever thread reads; what it does not take goes to `on_message` on the
        event loop. `on_end` is called there too, once: with '' when the other end has closed, or with what made no
        sense."""
        end.setblocking(True)  # whoever writes waits; reading never does
        self._end = end
        self._take = take
        self._on_message = on_message
        self._on_end = on_end
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._decoder = Decoder()
        self._lines: list[Line] = []
        self._is_shared = False
        self._is_over = False
        self._loop_reads = True
        self._is_taking = False
        self._large_at = -IN_USE_S
        """When the last call came that no socket holds."""
        self._lock = threading.RLock()  # what is read is put into lines
        """Held by whoever reads, and around all that says who does."""
        self._writing = threading.Lock()

    def open(self) -> None:
        """Begins to read."""
        self._loop.add_reader(self._end, self._read_on_loop)

    def line(self) -> Line:
        """For the threads of one model."""
        line = Line(self)
        self._lines.append(line)
        return line

    def share(self, is_shared: bool) -> None:
        """Whether threads read when all of them are busy, or the event loop always, as it does at first."""
        with self._lock:
            self._is_shared = is_shared
            if not is_shared and not self._loop_reads:
                self._hand_over()

    def poll(self) -> None:
        """On the event loop: reads what is there though every thread is busy."""
        with self._lock:
            if not self._loop_reads:
                self._read(self._on_message)

    def send(self, message: Message) -> None:
        """From any thread. Waits while the other end reads nothing; harmless when it has closed."""
        with self._writing, contextlib.suppress(OSError):
            self._end.sendall(b"".join(encode(message)))

    def close(self) -> None:
        """Harmless when it has ended."""
        with self._lock:
            self._is_over = True
            self._loop.remove_reader(self._end)
            self._end.close()

    # --- told by its lines --------------------------------------------------------------------------------------------

    def added(self, line: Line) -> None:
        """Something waits in it."""
        with self._lock:
            line.free -= 1
            if self._is_taking:  # and not a probe, which must not make a model look asked for
                line.asked_at = self._clock()

    def came(self, line: Line) -> None:
        """One of its threads has nothing to do: it reads unless something waits or somebody else does. When there is
        nothing for it, the event loop waits for more."""
        with self._lock:
            line.free += 1
            if line.free > 0 and not self._loop_reads:
                self._read(self._pass)
                if line.free > 0:
                    self._hand_over()

    # --- who reads ----------------------------------------------------------------------------------------------------

    def _read_on_loop(self) -> None:
        with self._lock:
            self._read(self._on_message)
            if self._is_shared and not self._is_over and self._is_not_needed():
                self._loop_reads = False
                self._loop.remove_reader(self._end)

    def _is_not_needed(self) -> bool:
        """All threads of the models in use are busy, and one of them will come and read."""
        since = self._clock() - IN_USE_S
        free = [line.free for line in self._lines if line.asked_at > since]
        return bool(free) and max(free) <= 0 and self._large_at <= since

    def _hand_over(self) -> None:
        self._loop_reads = True
        self._loop.call_soon_threadsafe(self._read_again)

    def _read_again(self) -> None:
        with self._lock:
            if not self._is_over:
                self._loop.add_reader(self._end, self._read_on_loop)

    # --- reading ------------------------------------------------------------------------------------------------------

    def _read(self, rest: Callable[[Message], None]) -> None:
        """What is there. `rest` has what is not taken."""
        if self._is_over:
            return
        try:
            data = self._end.recv(READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:  # where something was left unread the system calls the end an error
            data = b""
        if not data:
            self._over("")
            return
        self._is_taking = True
        try:
            for message in self._decoder.feed(data):
                if len(message.body) > READ_BYTES:
                    self._large_at = self._clock()
                if not self._take(message):
                    rest(message)
        except MalformedMessage as error:
            self._over(str(error))
        finally:
            self._is_taking = False

    def _pass(self, message: Message) -> None:
        self._loop.call_soon_threadsafe(self._on_message, message)

    def _over(self, reason: str) -> None:
        self._is_over = True
        self._loop.call_soon_threadsafe(self._say_over, reason)

    def _say_over(self, reason: str) -> None:
        self._loop.remove_reader(self._end)
        self._on_end(reason)


class Line(queue.SimpleQueue[Work | None]):
    """What waits for the threads of one model; `lanes.Source`."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self.free = 0
        """Threads that wait, without those for whom something is here; negative while more is here."""
        self.asked_at = -IN_USE_S
        """When its last call came."""

    def put(self, item: Work | None, /) -> None:  # type: ignore[override]  # it never blocks: no more arguments
        """See `Source`."""
        self._desk.added(self)
        super().put(item)

    def get(self) -> Work | None:  # type: ignore[override]  # as above
        """See `Source`."""
        self._desk.came(self)
        return super().get()
