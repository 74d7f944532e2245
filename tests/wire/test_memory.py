"""Whether freed memory stays."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from wire.memory import keep_freed_memory
LARGE = 1 << 20
if sys.argv[1] == "kept":
    keep_freed_memory(LARGE, 16 * LARGE)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    pieces = [bytearray(LARGE // 4) for _ in range(4)]
    del pieces
before = faults()
for _ in range(100):
    pieces = [bytearray(LARGE // 4) for _ in range(4)]
    del pieces
print(faults() - before)
"""


def page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, timeout=60, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_buffers_that_were_freed_are_used_again() -> None:
    """A hundred times the same four buffers: without the setting their pages come from the system each time."""
    assert page_faults("kept") < 1000 < page_faults("given back")
