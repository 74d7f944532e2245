"""Freed memory that stays with the process, for the next body.

Bodies cross a tunnel in buffers of some 100 KiB. The C library gives buffers of that size back to the system when they
are freed, and the system hands out the next ones page by page, each cleared: at 1 MB a request that was more than a
sixth of both ends' CPU time.
"""

from __future__ import annotations

import ctypes

MOST_BYTES = 32 << 20
"""The largest buffer that can be kept: glibc's own bound (DEFAULT_MMAP_THRESHOLD_MAX)."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h."""


def keep_freed_memory(largest_bytes: int, kept_bytes: int) -> None:
    """Keeps buffers smaller than `largest_bytes`, and up to `kept_bytes` of free memory at the end of the heap. Call
    once, early: glibc would otherwise raise both by what it sees, and does so no more from here on. Does nothing where
    the C library has no such settings (glibc's mallopt(3) has them)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or a system that loads none by that name
        return
    mallopt(_TRIM_THRESHOLD, kept_bytes)
    mallopt(_MMAP_THRESHOLD, min(largest_bytes, MOST_BYTES))
