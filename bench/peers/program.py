"""Programs that others wrote, as processes of ours: found, started in a group of their own, and gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.errors import BenchError

ALSO = (Path.home() / "go" / "bin", Path.home() / ".cargo" / "bin", "/usr/local/sbin", "/usr/sbin")
"""Where `go install`, `cargo install` and Debian put what PATH need not have."""
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
ASK_TIMEOUT_S = 10.0
LOG_TAIL = 1000
"""Characters of its log in an error."""


def found(name: str) -> str | None:
    """The program's path, or None."""
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(map(str, ALSO)))


def path_of(name: str) -> str:
    """The same. Raises BenchError."""
    path = found(name)
    if path is None:
        raise BenchError(f"there is no {name} on PATH")
    return path


def said(*command: str, about: str = "") -> str:
    """The first line with `about` in it of what a short command prints, such as its version; '' if there is none."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    return next((line.strip() for line in lines if about in line), "")


@contextlib.contextmanager
def running(command: Sequence[str], log: Path, is_ready: Callable[[], bool] = lambda: True) -> Iterator[int]:
    """Runs a command within the block, its output in `log`; its process id, once `is_ready`. Whatever it starts ends
    with it. Raises BenchError with the end of its log when it does not come up."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=log.parent, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                text = log.read_text(errors="replace").strip()[-LOG_TAIL:]
                raise BenchError(f"{Path(command[0]).name} did not start: {text or 'it says nothing'}")
            time.sleep(0.02)
        yield process.pid
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The group of processes, by SIGTERM and then by SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # also what outlived its leader
    process.wait()
