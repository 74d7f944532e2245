"""An event loop that has nothing to do, for so many seconds: how late it is, nobody but the machine is to blame for.

Prints the 99th percentile in milliseconds, taken as a worker takes its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from bench.load.loop import run_loop
from edge_worker.loop_lag import LoopLag


async def lag_ms(seconds: float) -> float:
    """Of the last minute at most."""
    lag = LoopLag()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await lag.run()
    return lag.percentile_ms(99)


if __name__ == "__main__":
    sys.stdout.write(f"{run_loop(lag_ms(float(sys.argv[1])))}\n")
