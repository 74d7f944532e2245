"""What the gateway's process is given before it serves."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc, resource
from gateway.process import YOUNG_OBJECTS, prepare_process
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
prepare_process()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)
assert gc.isenabled() and gc.get_threshold()[0] == YOUNG_OBJECTS
assert gc.get_freeze_count() > 1000
"""


def test_files_and_collector() -> None:
    """As many files as the system allows, and a collector that is on, patient, and past what is imported."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
