"""`python -m edge_worker.backends.engine_process FD WORKER LOG_FORMAT LOG_LEVEL`: what a worker starts. FD is an end of
a socket pair, WORKER its process id.

Signals are the worker's business: a terminal's Ctrl-C or a supervisor's SIGTERM may reach this process as well, and
what it has begun is to be finished. It ends when its worker says so, or is gone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys

from edge_worker.backends.engine_process.server import EngineServer
from edge_worker.backends.factory import open_backend
from edge_worker.event_loop import run
from edge_worker.logs import set_up_logs
from wire.memory import MOST_BYTES, keep_freed_memory

KEPT_BYTES = 64 << 20
"""Of freed memory: pictures and the layers of a network take megabytes each, for every image anew."""
_PR_SET_PDEATHSIG = 1
"""Of linux/prctl.h."""


def main(file: str, worker: str, log_format: str, log_level: str) -> None:
    """The program."""
    die_with(int(worker))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    set_up_logs(log_format, log_level)
    keep_freed_memory(MOST_BYTES, KEPT_BYTES)
    run(serve(socket.socket(fileno=int(file))))


def die_with(worker: int) -> None:
    """Has Linux kill this process when its worker dies, also while it imports a library and hears nothing. Elsewhere
    the end of the stream has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != worker:  # it died before
        os._exit(0)


async def serve(end: socket.socket) -> None:
    """Does not return: threads that cannot be ended would be waited for."""
    await EngineServer(open_backend).run(end)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
