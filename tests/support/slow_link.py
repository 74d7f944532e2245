"""A link of a given rate and latency between two TCP ends on one machine, with a queue like a router's: the relay of
bench/network as a process, for tests that are not asynchronous.

The queue is large enough to hold a fifth of a second: a sender that fills it delays everything behind by as much, as
routers in homes do.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.network.profile import Profile, Way, to_json

NICENESS = -15
"""A link is no program: where it may, it goes before what it is used to measure."""
ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def slow_link(port: int, *, rate_bits_s: float, latency_s: float, queue_s: float) -> Iterator[int]:
    """A relay to this machine's `port`; its own port. `latency_s` is that of each way. Ends with the block."""
    way = Way(latency_s, rate_bits_s, queue_s)
    command = [sys.executable, "-m", "bench.wan", "--json", "--until-eof", "--to", f"127.0.0.1:{port}"]
    command += ["--figures", to_json(Profile("slow", way, way))]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as relay:
        try:
            with contextlib.suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, relay.pid, NICENESS)
            assert relay.stdout is not None
            yield int(json.loads(relay.stdout.readline())["port"])
        finally:
            relay.kill()
