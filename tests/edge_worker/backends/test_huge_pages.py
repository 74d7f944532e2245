"""What is moved into huge pages, by the kernel's own account."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge_worker.backends import huge_pages
from edge_worker.backends.huge_pages import use_huge_pages, used_mappings

MIB = 1 << 20

SCRIPT = """
import mmap, re
from pathlib import Path
from edge_worker.backends.huge_pages import use_huge_pages

def huge_bytes():
    return int(re.search(r"AnonHugePages: +([0-9]+)", Path("/proc/self/smaps_rollup").read_text())[1]) << 10

weights = mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
weights.write(bytes(range(256)) * (len(weights) >> 8))
before = huge_bytes()
use_huge_pages()
assert weights[:] == bytes(range(256)) * (len(weights) >> 8)
print(huge_bytes() - before)
"""

NAMELESS = ""  # the kernel writes a space before each name

SMAPS = f"""\
564bd2a00000-564bd2e00000 rw-p 00000000 00:00 0                          [heap]
Size:               4096 kB
Rss:                2048 kB
VmFlags: rd wr mr mw me ac
7f0000000000-7f0000800000 rw-p 00000000 00:00 0 {NAMELESS}
Size:               8192 kB
Rss:                4092 kB
7f0001000000-7f0001200000 r-xp 00001000 fe:00 1234                       /usr/lib/libc.so.6
Rss:                2048 kB
7f0002000000-7f0002200000 rw-p 00001000 fe:00 1234                       /usr/lib/libc.so.6
Rss:                2048 kB
7f0003000000-7f0003200000 rw-s 00000000 00:01 5678                       /dev/zero (deleted)
Rss:                2048 kB
7f0004000000-7f0004200000 ---p 00000000 00:00 0 {NAMELESS}
Rss:                   0 kB
7f0005000000-7f0005200000 rw-p 00000000 00:00 0 {NAMELESS}
Size:               2048 kB
Rss:                2048 kB
7ffc00000000-7ffc00200000 rw-p 00000000 00:00 0                          [stack]
Rss:                2048 kB
"""


def collapses() -> bool:
    """Whether this kernel moves memory when it is asked to."""
    try:
        is_never = "[never]" in (huge_pages.PAGE_SIZE_FILE.parent / "enabled").read_text()
    except OSError:
        return False
    version = re.match(r"(\d+)\.(\d+)", Path("/proc/sys/kernel/osrelease").read_text())
    return version is not None and (int(version[1]), int(version[2])) >= (6, 1) and not is_never


@pytest.mark.skipif(not collapses(), reason="this kernel moves no memory into huge pages")
def test_memory_in_use_is_moved_and_says_what_it_said() -> None:
    """Its ends may lie within a huge page, and stay in small ones."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) >= 28 * MIB


def test_only_private_memory_that_is_half_in_use_is_moved() -> None:
    """No file's, nobody else's, no stack, and nothing that would grow to more than twice its size."""
    assert list(used_mappings(SMAPS)) == [
        (0x564BD2A00000, 0x564BD2E00000),
        (0x7F0005000000, 0x7F0005200000),
    ]


def test_a_system_without_huge_pages_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huge_pages, "PAGE_SIZE_FILE", tmp_path / "none")
    monkeypatch.setattr("ctypes.CDLL", lambda *_: pytest.fail("asked the system"))
    use_huge_pages()
