"""Huge pages for the memory of an engine, where the system has them for whoever asks.

A network's weights and layers are read from end to end for every picture. A processor remembers where some 2,000 pages
of 4 KiB are and looks up all others, in a virtual machine twice; in pages of 2 MiB that is nearly over. Most systems
give such pages only to programs that ask.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

PAGE_SIZE_FILE = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")

_MADV_COLLAPSE = 25
"""Of linux/mman.h, since 6.1: at once, where MADV_HUGEPAGE only marks memory for when the system comes by."""
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p \S+ 00:00 0 +(?:\[heap\])?")
"""In proc_pid_smaps(5), one that is no file's, shared with nobody, and not the main thread's stack."""
_RESIDENT = re.compile(r"Rss: +(\d+) kB")


def use_huge_pages() -> None:
    """Moves what this process holds now, at some milliseconds for each huge page; best before anybody waits for it.
    Does nothing where the system cannot or will not: Linux before 6.1, one that is set to `never`, another system."""
    try:
        size = int(PAGE_SIZE_FILE.read_text(encoding="ascii"))
        mappings = list(used_mappings(Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace")))
    except (OSError, ValueError):
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for begin, end in mappings:
        for page in range(-(-begin // size) * size, end - size + 1, size):
            madvise(page, size, _MADV_COLLAPSE)  # what is refused stays as it was


def used_mappings(smaps: str) -> Iterator[tuple[int, int]]:
    """Where they begin and end: those of which half is in memory. A thread's stack is not, and would be then."""
    mapping: tuple[int, int] | None = None
    for line in smaps.splitlines():
        if found := _MAPPING.fullmatch(line):
            mapping = int(found[1], 16), int(found[2], 16)
        elif mapping is not None and (found := _RESIDENT.fullmatch(line)):
            begin, end = mapping
            if int(found[1]) * 1024 * 2 >= end - begin:
                yield mapping
            mapping = None
