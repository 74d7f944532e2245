"""docs/howto/use-standard-clients.md is typed as it stands: each block of `python` and `sh`, against real processes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.stack import REPOSITORY, Stack

PAGE = (REPOSITORY / "docs" / "howto" / "use-standard-clients.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|sh)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SHOWS = (":3:3", "(2, 10)", "", "0.99", '"results"', '"Healthy"')
"""What the output of each block has in it, the sample being a 3."""
TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[str], Stack]) -> Stack:
    """A gateway and a worker with the digits."""
    stack = new_stack("standard_clients")
    stack.start_gateway()
    stack.start_worker("worker-1")
    stack.wait_ready("digits", 1)
    return stack


@pytest.fixture
def folder(stack: Stack, tmp_path: Path) -> Path:
    """What the page begins with."""
    shutil.copy(stack.credentials.ca, tmp_path / "ca.pem")
    shutil.copy(stack.credentials.client_token, tmp_path / "client.token")
    shutil.copy(REPOSITORY / "edge_worker/models/digits/samples/digit-3.png", tmp_path / "digit.png")
    return tmp_path


@pytest.mark.parametrize("number", range(len(SHOWS)))
def test_each_block_works(stack: Stack, folder: Path, number: int) -> None:
    """Each block ends well and shows what it should; the address alone is another."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    kind, text = BLOCKS[number]
    command = [sys.executable, "-c"] if kind == "python" else ["bash", "-euo", "pipefail", "-c"]
    done = subprocess.run(
        [*command, text.replace("localhost:8443", f"localhost:{stack.port}")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert SHOWS[number] in done.stdout


def test_every_block_is_run() -> None:
    """The page has as many blocks as this file has expectations."""
    assert len(BLOCKS) == len(SHOWS)
