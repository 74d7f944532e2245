"""What the gateway asks of its own process before it serves: enough open files, memory that stays, and a patient
garbage collector.

None is a setting: a tunnel is a file, a body is a buffer, and Python's collector looks at every object of every tunnel.
"""

from __future__ import annotations

import gc
import resource

from wire.memory import keep_freed_memory

YOUNG_OBJECTS = 10_000
"""New objects that can hold others after which the collector looks for cycles among them. With Python's 700, the probes
and pings of one moment count as old before they are over, and each time some thousands have, all objects of all tunnels
are looked at: a quarter of an idle gateway's CPU time. Most garbage here is freed without the collector."""


LARGEST_BYTES = 1 << 20
"""Pieces of bodies are smaller; a larger buffer is rare here, and goes back to the system."""
KEPT_BYTES = 16 << 20
"""Bodies of a moment; an idle gateway holds no more than this for nothing."""


def prepare_process() -> None:
    """Call once, when everything is imported."""
    keep_freed_memory(LARGEST_BYTES, KEPT_BYTES)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # systemd and login shells give 1,024 to begin with
    gc.collect()
    gc.freeze()  # what is imported stays: nothing to look at
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
