"""What a worker and its engine process load when they start: only what each needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WORKER = """
import argparse, asyncio, sys
from edge_worker.app import Worker
from edge_worker.config import load
from edge_worker.option import add_options
from edge_worker.options import CONNECT

parser = argparse.ArgumentParser()
add_options(parser, CONNECT)
async def main():
    worker = Worker(load(parser.parse_args(sys.argv[1:]), {}))
    worker.stop()  # it starts its backend and its links, is told to go, and goes
    await worker.run()
asyncio.run(main())
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
ENGINE = """
import asyncio, sys
import edge_worker.backends.engine_process.__main__
from edge_worker.backends.factory import open_backend
from edge_worker.backends.settings import BackendSettings

asyncio.run(open_backend(sys.argv[1], BackendSettings()).start())
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
HEAVY = {"aiohttp", "cryptography", "cv2", "gateway", "jwt", "numpy", "pydantic", "tensorflow"}


def loaded_by_worker(backend: str, tmp_path: Path) -> set[str]:
    """The top-level modules in a process that started a worker with this backend."""
    token = tmp_path / "token"
    token.write_text("a.b.c")
    options = ["--backend", backend, "--gateway", "wss://127.0.0.1:9", "--token-file", str(token), "--name", "w"]
    return loaded_by(WORKER, *options)


def loaded_by(program: str, *arguments: str) -> set[str]:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("backend", ["echo", "opencv_dnn"])
def test_a_worker_starts_without_anything_heavy(backend: str, tmp_path: Path) -> None:
    """It loads websockets and wire, and none of the gateway's libraries, cv2, numpy or tensorflow: what computes is in
    another process."""
    modules = loaded_by_worker(backend, tmp_path)
    assert {"websockets", "wire"} <= modules
    assert not modules & HEAVY


def test_opencv_starts_without_the_other_engines() -> None:
    """Its engine process loads cv2 and numpy, and neither tensorflow nor anything of the gateway's."""
    pytest.importorskip("cv2")
    modules = loaded_by(ENGINE, "opencv_dnn")
    assert {"cv2", "numpy"} <= modules
    assert not modules & (HEAVY - {"cv2", "numpy"})
