"""`edge-worker` with a troubled engine process, which it gives up after less silence than usual.

    python -m tests.support.troubled_worker python -m edge_worker connect ...

What stands before the command of `edge_worker` is passed over, so that a stack can run its own command by way of this.
"""

from __future__ import annotations

import sys

from edge_worker.backends.engine_process import process, spawn
from edge_worker.cli import main

if __name__ == "__main__":
    spawn.PROGRAM = (sys.executable, "-m", "tests.support.troubled_engine")
    process.SILENCE_S = 5
    sys.exit(main(sys.argv[sys.argv.index("edge_worker") + 1 :]))
