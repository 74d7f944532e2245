"""How the programs of this study begin and end: no traceback for Ctrl-C, for a reader that leaves, or for a full disk.

Refuses to hide anything else. It imports nothing that takes time: it is there before a program's libraries are.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Callable

NOT_WRITTEN, INTERRUPTED = 3, 130
"""Exit status: what was to be printed is lost; Ctrl-C."""


def loading() -> None:
    """From here until `run`, Ctrl-C ends the process at once and silently: there is nothing to be put away yet."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and is not ignored, as in a script's background
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(main: Callable[[], int]) -> int:
    """Runs a program. Returns its exit status, or one of those above. SIGTERM and SIGHUP are answered as Ctrl-C is:
    whoever ends a program ends what it started."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # and is not ignored, as by nohup
            signal.signal(number, signal.default_int_handler)
    sys.stdout = output = Output(
        sys.stdout.buffer, sys.stdout.encoding, sys.stdout.errors, line_buffering=sys.stdout.isatty()
    )
    try:
        status = main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        status = INTERRUPTED
    output.flush()
    if output.failure:
        sys.stderr.write(f"the output could not be written: {output.failure}\n")
    return status or (NOT_WRITTEN if output.failure else 0)


class Output(io.TextIOWrapper):
    """Standard output. From the moment when it takes no more, what is printed goes nowhere and the program goes on: a
    run is still written."""

    failure = ""
    """Why it takes no more; '' also where its reader left (`| head`), which is no failure."""

    def write(self, text: str, /) -> int:
        """As of any stream."""
        try:
            return super().write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        """As of any stream."""
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        """Also what is held in memory, which Python would write at its end."""
        if error.errno != errno.EPIPE:
            self.failure = error.strerror or str(error)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
