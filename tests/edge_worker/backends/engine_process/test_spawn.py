"""A real engine process: what it is started with, and that it is gone when it has to be."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edge_worker.backends.base import Call
from edge_worker.backends.engine_process.messages import start
from edge_worker.backends.engine_process.process import EngineProcess
from edge_worker.backends.engine_process.spawn import Child, kill_spawned, spawner
from edge_worker.backends.settings import BackendSettings

pytest.importorskip("cv2")

SAMPLE = (Path(__file__).parents[4] / "edge_worker/models/digits/samples/digit-7.png").read_bytes()
WAIT_S = 60.0
"""Ends a test that would hang; nothing waits that long."""


class Spawned:
    """A started process, and the one that it is to the system."""

    def __init__(self) -> None:
        self.child: asyncio.subprocess.Process

    async def __call__(self, end: socket.socket) -> Child:
        child = await spawner("json", "info")(end)
        assert isinstance(child, asyncio.subprocess.Process)
        self.child = child
        return child


@asynccontextmanager
async def engine() -> AsyncIterator[tuple[EngineProcess, asyncio.subprocess.Process]]:
    spawned = Spawned()
    async with asyncio.timeout(WAIT_S):
        made = EngineProcess(spawned, lambda _: None)
        await made.start(start("opencv_dnn", BackendSettings()))
        try:
            yield made, spawned.child
        finally:
            await made.kill()


async def test_it_answers_wherever_it_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The label of a picture; a file beside which the worker was started is no module of it."""
    (tmp_path / "json.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)
    async with engine() as (on, _):
        answer = await on.answer(Call("digits", "POST", "/inference/digits", (), SAMPLE))
        await on.close()
    assert json.loads(answer.body)["predictions"][0]["label"] == "7"


async def test_signals_for_its_worker_leave_it_alone() -> None:
    """It is in a session of its own, and what a supervisor sends to every process it does not heed."""
    async with engine() as (on, child):
        assert os.getsid(child.pid) == child.pid
        for number in (signal.SIGTERM, signal.SIGINT):
            child.send_signal(number)
        assert (await on.probe("digits")).status == 200


async def test_a_worker_that_leaves_at_once_leaves_none_behind() -> None:
    """Without a word to it."""
    async with engine() as (on, _):
        kill_spawned()
        assert (await on.wait_unwell()).startswith("its engine process was ended by SIGKILL")
        kill_spawned()  # there is none any more


async def test_it_does_not_start_for_a_worker_that_is_gone() -> None:
    """It looks for its parent first."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "edge_worker.backends.engine_process", str(theirs.fileno()), "1", "json", "info"),
            pass_fds=(theirs.fileno(),),
        )
        assert await asyncio.wait_for(child.wait(), WAIT_S) == 0
