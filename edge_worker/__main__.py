"""`python -m edge_worker` is `edge-worker`: runs the command line, and ends it as a shell expects when it is cut short.

Loading the program takes a good part of a second, in which Ctrl-C would be a traceback. So would a reader that has left
(`edge-worker ... | head -1`): Python notices when it writes what is left.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """The console script. Returns the exit status."""
    try:
        from edge_worker.cli import main as run

        try:
            return run()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it closes the stream
        return 1


if __name__ == "__main__":
    sys.exit(main())
