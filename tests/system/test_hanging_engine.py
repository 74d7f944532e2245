"""A real worker whose engine hangs on one picture: the other answers, and the first comes back, until it cannot."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import pytest

from demo.stack import REPOSITORY, Process, Stack
from tests.support.hanging_worker import POISON
from tests.support.load import Load

SAMPLE = (REPOSITORY / "edge_worker/models/digits/samples/digit-7.png").read_bytes()
HANGING = (sys.executable, "-m", "tests.support.hanging_worker")
LONG_S = 120.0
"""Ends a test that would not; nothing takes as long."""


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[str], Stack]) -> Stack:
    """Two OpenCV workers; the networks of worker-1 hang on POISON, and are given up after a second."""
    stack = new_stack("hanging")
    stack.start_gateway()
    stack.start_worker("worker-1", "--engine-limit-s", "1", via=HANGING)
    stack.start_worker("worker-2")
    stack.wait_ready("digits", 2)
    return stack


def hang(stack: Stack) -> Process:
    """Posts the picture until worker-1 has got it; every post is answered, by worker-2."""
    worker = stack.workers["worker-1"]
    before, end = len(worker.events("engine hangs")), time.monotonic() + LONG_S
    while len(worker.events("engine hangs")) == before:
        assert time.monotonic() < end, "worker-1 never gets the picture"
        token = stack.credentials.client_token.read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "X-Request-Timeout": "100"}
        status, _, body = stack.request("POST", "/inference/digits", POISON, headers)
        assert (status, json.loads(body)["worker"]) == (200, "worker-2")
    return worker


async def test_the_other_worker_answers_and_the_first_comes_back(stack: Stack) -> None:
    """The client of the picture sees no error; the log has one line about the hang; the same process answers again."""
    worker = hang(stack)
    assert [(one["model"], one["limit_s"]) for one in worker.events("engine hangs")] == [("digits", 1.0)]
    stack.wait_ready("digits", 2)
    assert len(worker.events("engine replaced")) == 1
    async with Load(stack, "/inference/digits", SAMPLE, in_flight=8) as load:
        await load.wait_answers(200)
    assert load.failures() == []
    assert {outcome.worker for outcome in load.outcomes} == {"worker-1", "worker-2"}
    assert worker.is_running


def test_at_the_third_time_it_leaves_for_its_supervisor(stack: Stack) -> None:
    """Two engines hang, and a third would: it drains, leaves with status 3 and says why; no client sees an error."""
    stack.wait_ready("digits", 2)
    worker = hang(stack)
    stack.wait_ready("digits", 2)
    hang(stack)
    assert worker.wait(LONG_S) == 3
    (leaving,) = worker.events("leaving: only a new process can help")
    assert leaving["reason"] == "digits: 3 engines hang, and none of them can be ended"
    del stack.workers["worker-1"]
