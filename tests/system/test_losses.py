"""Workers and gateways that are lost under load: killed, stopped, restarted. No client sees an error."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

import pytest

from demo.stack import REPOSITORY, Stack
from tests.support.load import Load

WORKERS = ("worker-1", "worker-2", "worker-3")
SAMPLE = (REPOSITORY / "edge_worker/models/digits/samples/digit-7.png").read_bytes()
IN_FLIGHT = 50
ECHO = ("--backend", "echo", "--echo-service-time", "50ms", "--slots", "4")
NOTICED_S = 7.0
"""Three heartbeats of 2 s missed, and a little."""
BACK_S = 1.0
"""A worker that comes back has its place again after so long: 0.5 s of jitter at most, a connection, a probe."""

WaitUntil = Callable[..., float]


@pytest.fixture(scope="module")
def echo(new_stack: Callable[[str], Stack]) -> Stack:
    """A gateway with all its defaults and three workers that take 50 ms, four at a time."""
    stack = new_stack("echo")
    stack.start_gateway()
    for name in WORKERS:
        stack.start_worker(name, *ECHO)
    stack.wait_ready("echo", 3)
    return stack


@pytest.fixture(scope="module")
def digits(new_stack: Callable[[str], Stack]) -> Stack:
    """A gateway and three OpenCV workers."""
    stack = new_stack("digits")
    stack.start_gateway()
    for name in WORKERS:
        stack.start_worker(name, "--threads", "1")
    stack.wait_ready("digits", 3)
    return stack


def present(stack: Stack) -> set[str]:
    """The workers that the gateway has, at the moment."""
    return {worker["worker"] for worker in stack.workers_view()}


async def test_sigkill_gives_no_client_an_error(digits: Stack) -> None:
    """Of 50 requests in flight over three OpenCV workers, none fails when one worker is killed."""
    async with Load(digits, "/inference/digits", SAMPLE, in_flight=IN_FLIGHT) as load:
        await load.wait_answers(200)
        digits.workers.pop("worker-2").kill()
        await load.wait_answers(200)
    assert load.failures() == []
    assert {outcome.worker for outcome in load.outcomes} == set(WORKERS)
    assert present(digits) == {"worker-1", "worker-3"}


async def test_sigkill_in_the_middle_of_jobs(echo: Stack) -> None:
    """The jobs that were running on the killed worker are answered by the others, and a worker that is started anew
    under the same name has its place at once."""
    async with Load(echo, "/inference/echo", SAMPLE, in_flight=IN_FLIGHT) as load:
        await load.wait_answers(100)
        running = next(one for one in echo.workers_view() if one["worker"] == "worker-2")["models"][0]["running"]
        killed_at = time.monotonic()
        echo.workers.pop("worker-2").kill()
        await load.wait_answers(100)
    assert running > 0, "with 50 in flight over 12 slots every worker has some"
    assert load.failures() == []
    assert not any(one.worker == "worker-2" and one.ended > killed_at + 1.0 for one in load.outcomes)
    echo.start_worker("worker-2", *ECHO)
    echo.wait_ready("echo", 3)
    assert present(echo) == set(WORKERS)


async def test_sigstop_is_noticed_and_sigcont_returns(echo: Stack, wait_until: WaitUntil) -> None:
    """A worker that hangs is lost within 7 s and its jobs are answered by the others; when it goes on, the same process
    has its place again within a second."""
    worker = echo.workers["worker-3"]
    async with Load(echo, "/inference/echo", SAMPLE, in_flight=IN_FLIGHT) as load:
        await load.wait_answers(100)
        stopped_at = time.monotonic()
        worker.signal(signal.SIGSTOP)
        try:
            await asyncio.to_thread(wait_until, lambda: "worker-3" not in present(echo), "the worker is given up")
            noticed_s = time.monotonic() - stopped_at
            await load.wait_answers(100)
        finally:
            worker.signal(signal.SIGCONT)
        back_s = await asyncio.to_thread(wait_until, lambda: echo.ready_workers("echo") == 3, "the worker is back")
        await load.wait_answers(100)
    assert load.failures() == []
    assert noticed_s < NOTICED_S
    assert back_s < BACK_S
    moved = [one for one in load.outcomes if one.began < stopped_at + 1.0 and one.ended > stopped_at + 2.0]
    assert moved, "the jobs that it held were given to others"
    assert all(one.worker != "worker-3" for one in moved)
    assert any(one.worker == "worker-3" for one in load.outcomes[-100:]), "it has work again"
    left = echo.gateway.events("worker left")[-1]
    assert (left["worker"], left["code"]) == ("worker-3", "peer_lost")


async def test_a_successor_takes_over_from_a_hanging_process(echo: Stack) -> None:
    """A process that is started under the name of one that hangs does not wait until that one is given up."""
    old = echo.workers["worker-1"]
    old.signal(signal.SIGSTOP)
    try:
        async with Load(echo, "/inference/echo", SAMPLE, in_flight=IN_FLIGHT) as load:
            await load.wait_answers(20)
            new = echo.start_worker("worker-1", *ECHO)
            await asyncio.to_thread(new.wait_event, "connected")
            superseded = echo.gateway.events("worker left")[-1]
            await load.wait_answers(100)
    finally:
        old.kill()
    assert load.failures() == []
    assert (superseded["worker"], superseded["code"]) == ("worker-1", "superseded")
    assert any(outcome.worker == "worker-1" for outcome in load.outcomes[-100:]), "the new process has its work"


async def test_workers_return_to_a_gateway_that_was_killed(echo: Stack, wait_until: WaitUntil) -> None:
    """A gateway that is killed and started again has its workers back, without anybody's help."""
    port = echo.port
    echo.gateway.kill()
    for name in WORKERS:
        echo.workers[name].wait_event("disconnected")
    echo.start_gateway(port)
    wait_until(lambda: echo.ready_workers("echo") == 3, "all three are back")
    async with Load(echo, "/inference/echo", SAMPLE, in_flight=IN_FLIGHT) as load:
        await load.wait_answers(100)
    assert load.failures() == []
    assert {outcome.worker for outcome in load.outcomes} == set(WORKERS)
