"""docs/howto/serve-an-existing-server.md is typed as it stands, with ports of this test's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.stack import REPOSITORY, Stack, port_is_free

PAGE = (REPOSITORY / "docs" / "howto" / "serve-an-existing-server.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PHOTOGRAPH = b"a photograph" * 1000


def blocks(kind: str) -> list[str]:
    return [text for one, text in BLOCKS if one == kind]


@pytest.fixture(scope="module")
def port() -> int:
    """For the server of the page."""
    return next(port for port in range(18_000, 19_000) if port_is_free(port))


@pytest.fixture(scope="module")
def folder(
    new_stack: Callable[[str], Stack], tmp_path_factory: pytest.TempPathFactory, port: int
) -> Iterator[tuple[Path, Stack]]:
    """What the page begins with, and what its `serve` blocks start."""
    stack, folder = new_stack("existing-server"), tmp_path_factory.mktemp("folder")
    (setting,) = re.findall(r'hosts = \{ "(.*)" = "(.*)" \}', "".join(blocks("toml")))
    stack.start_gateway(TUNNEL__HOSTS="=".join(setting))
    for file in (stack.credentials.ca, stack.credentials.client_token, stack.credentials.worker_token("worker-1")):
        shutil.copy(file, folder / file.name)
    (folder / "photo.jpg").write_bytes(PHOTOGRAPH)
    (server,) = blocks("python")
    (folder / "old_server.py").write_text(server.replace("8000", str(port)))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    processes = []
    for text in blocks("serve"):
        command = text.replace("edge-worker", f"{sys.executable} -m edge_worker").replace(
            "python old", f"{sys.executable} old"
        )
        command = command.replace("localhost:8443", f"localhost:{stack.port}").replace(":8000", f":{port}")
        processes.append(
            subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=folder, env=environment, stderr=subprocess.DEVNULL)
        )
    try:
        stack.wait_ready("old", 1)
        yield folder, stack
    finally:
        for process in processes:
            process.terminate()
            process.wait(30)


@pytest.mark.parametrize("number", range(len(blocks("sh"))))
def test_each_block_works(folder: tuple[Path, Stack], number: int) -> None:
    """The server answers what it would answer without a gateway."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    place, stack = folder
    text = blocks("sh")[number].replace("localhost:8443", f"localhost:{stack.port}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=place, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f'{{"bytes":{len(PHOTOGRAPH)}}}\n'


def test_every_block_is_run() -> None:
    """A block of another kind would be one that nobody tries."""
    assert {kind for kind, _ in BLOCKS} == {"python", "serve", "sh", "toml"}
    assert len(blocks("sh")) == 3
