"""Freed memory that stays with the process, for the next body.

Bodies cross a tunnel in buffers of some 100 KiB. The C library gives buffers of that size back to the system when they
are freed, and the system hands out the next ones page by page, each cleared: at 1 MB a request that was more than a
sixth of both ends' CPU time.
"""

from __future__ import annotations

import ctypes

KEPT_BYTES = 16 << 20
"""Free memory at the end of the heap that is not given back."""

LARGE_BYTES = 1 << 20
"""Buffers from this size on are given back at once all the same."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Call once, early. Does nothing where the C library has no such settings (glibc's mallopt(3) has them)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or a system that loads none by that name
        return
    mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
