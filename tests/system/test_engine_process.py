"""A real worker whose engine is in trouble: the other one answers, and the first comes back without being restarted."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demo.stack import REPOSITORY, Process, Stack
from tests.support.load import Load
from tests.support.troubled_engine import CRASHES, HANGS, HOLDS_THE_LOCK, grey

SAMPLE = (REPOSITORY / "edge_worker/models/digits/samples/digit-7.png").read_bytes()
TROUBLED = (sys.executable, "-m", "tests.support.troubled_worker")
LONG_S = 120.0
"""Ends a test that would not; nothing takes as long."""

REASONS = {
    HANGS: "digits: its engine did not end within 1 s and is being replaced",
    CRASHES: "its engine process was ended by SIGSEGV",
    HOLDS_THE_LOCK: "its engine process said nothing for 5 s",
}


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[str], Stack]) -> Stack:
    """Two OpenCV workers; worker-1 has the troubled engine, and gives a call up after a second."""
    stack = new_stack("troubled")
    stack.start_gateway()
    stack.start_worker("worker-1", "--engine-limit-s", "1", via=TROUBLED)
    stack.start_worker("worker-2")
    stack.wait_ready("digits", 2)
    return stack


def children(pid: int) -> list[int]:
    """The processes that this one has started."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]


def wait_for(is_so: Callable[[], Any]) -> None:
    end = time.monotonic() + LONG_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def trouble(stack: Stack, level: int) -> Process:
    """Posts the picture until worker-1 has got it; every post is answered, by worker-2."""
    worker = stack.workers["worker-1"]
    before, end = len(worker.events("engine process is unwell")), time.monotonic() + LONG_S
    while len(worker.events("engine process is unwell")) == before:
        assert time.monotonic() < end, "worker-1 never gets the picture"
        token = stack.credentials.client_token.read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "X-Request-Timeout": "100"}
        status, _, body = stack.request("POST", "/inference/digits", grey(level), headers)
        assert (status, json.loads(body)["worker"]) == (200, "worker-2")
    return worker


@pytest.mark.parametrize("level", REASONS, ids=["hangs", "crashes", "holds the lock"])
async def test_the_other_worker_answers_and_the_first_comes_back(stack: Stack, level: int) -> None:
    """The client of the picture sees no error; the log says why the engine process was replaced; the same worker
    answers again, with one engine process and over the tunnel that it had."""
    worker = stack.workers["worker-1"]
    (old,) = children(worker.popen.pid)
    tunnels = len(worker.events("connected"))
    before = len(worker.events("engine process replaced"))
    trouble(stack, level)
    assert worker.events("engine process is unwell")[-1]["reason"] == REASONS[level]
    wait_for(lambda: len(worker.events("engine process replaced")) == before + 1)
    wait_for(lambda: len(children(worker.popen.pid)) == 1)
    stack.wait_ready("digits", 2)
    async with Load(stack, "/inference/digits", SAMPLE, in_flight=8) as load:
        await load.wait_answers(200)
    assert load.failures() == []
    assert {outcome.worker for outcome in load.outcomes} == {"worker-1", "worker-2"}
    assert children(worker.popen.pid) != [old]
    assert len(worker.events("connected")) == tunnels


async def test_an_engine_process_that_is_killed_under_load_costs_no_client_its_answer(stack: Stack) -> None:
    """As the system does where memory runs out: what was in flight goes to the other worker."""
    stack.wait_ready("digits", 2)
    worker = stack.workers["worker-1"]
    before = len(worker.events("engine process replaced"))
    async with Load(stack, "/inference/digits", SAMPLE, in_flight=20) as load:
        await load.wait_answers(100)
        (engine,) = children(worker.popen.pid)
        os.kill(engine, signal.SIGKILL)
        wait_for(lambda: len(worker.events("engine process replaced")) == before + 1)
        await load.wait_answers(300)
    assert load.failures() == []


def test_an_engine_process_does_not_outlive_its_worker(stack: Stack) -> None:
    """A worker that is killed leaves nothing behind."""
    worker = stack.workers.pop("worker-1")
    (engine,) = children(worker.popen.pid)
    worker.popen.kill()
    worker.wait(LONG_S)
    wait_for(lambda: not Path(f"/proc/{engine}").exists())
