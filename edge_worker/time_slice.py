"""A short time slice, so that the scheduler lets an event loop in while an engine has the core.

Linux runs first who is due first, and who asks for less at a time is due earlier (EEVDF; a slice of one's own since
6.12). What a process gets in all stays the same, unlike with `nice`. An event loop needs microseconds: with the slice
that everybody has it waited for the end of a tick, 4 ms, before it got the core back from an engine's threads.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

SLICE_NS = 500_000
"""Less than the 0.7 to 2.8 ms that everybody has, by the number of cores, and about what a picture takes with cold
caches: with 0.1 ms, the least that Linux takes, an event loop was put aside in the middle of one in ten."""

_SYSCALLS = {"x86_64": 314, "aarch64": 274}
"""sched_setattr(2), for which glibc has no function before 2.41."""
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""struct sched_attr of linux/sched/types.h: size, policy, flags, nice, priority; runtime, deadline and period in ns."""
_SCHED_OTHER = 0
_RESET_ON_FORK = 0x01


def shorten_slice() -> bool:
    """For the calling thread; not for the threads and processes that it starts, whose slices stay as they were. Says
    whether the system took it: an older Linux does, and changes nothing; another system or a strict sandbox does
    not."""
    number = _SYSCALLS.get(platform.machine())
    if platform.system() != "Linux" or number is None:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = _ATTRIBUTES.pack(_ATTRIBUTES.size, _SCHED_OTHER, _RESET_ON_FORK, nice, 0, SLICE_NS, 0, 0)
    return bool(ctypes.CDLL(None).syscall(number, 0, wanted, 0) == 0)
