"""One worker, two gateways at once: either may go away and come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from demo.stack import Process, Stack
from tests.support.bystander import Bystander
from tests.support.scrape import count

WaitUntil = Callable[..., float]


@pytest.fixture
def gateways(new_stack: Callable[[str], Stack]) -> tuple[Stack, Stack]:
    first, second = new_stack("first"), new_stack("second")
    for stack in (first, second):
        stack.start_gateway()
    return first, second


@pytest.fixture
def worker(gateways: tuple[Stack, Stack]) -> Iterator[Process]:
    """It holds a tunnel to each."""
    first, second = gateways
    worker = first.start_worker(
        "worker-1", "--backend", "echo", "--slots", "2", "--gateway", f"wss://localhost:{second.port}"
    )
    for stack in gateways:
        stack.wait_ready("echo", 1)
    yield worker
    worker.stop()


def test_a_gateway_that_is_killed_and_comes_back(
    gateways: tuple[Stack, Stack], worker: Process, wait_until: WaitUntil
) -> None:
    """The other gateway answers all the time, on the tunnel that it had; the first one gets the worker again."""
    first, second = gateways
    with Bystander(second) as bystander:
        for stack in gateways:
            assert stack.request("POST", "/inference/echo", b"picture", {"Content-Type": "image/png"})[0] == 200
        session = second.workers_view()[0]["about"]["session"]
        first.gateway.kill()
        wait_until(lambda: worker.events("disconnected"), "the worker notices")
        assert [line["gateway"] for line in worker.events("disconnected")] == [
            f"wss://localhost:{first.port}/v1/tunnel"
        ]
        bystander.check()
        first.start_gateway(first.port)
        first.wait_ready("echo", 1)
        assert first.request("POST", "/inference/echo", b"picture", {"Content-Type": "image/png"})[0] == 200
        bystander.check()
    assert second.workers_view()[0]["about"]["session"] == session
    assert count(second, "gateway_tunnels_opened_total") == 1


def test_a_worker_that_leaves_both(gateways: tuple[Stack, Stack], worker: Process, wait_until: WaitUntil) -> None:
    """SIGTERM says goodbye to each gateway, and the worker exits with 0."""
    assert worker.stop() == 0
    ended = 'gateway_tunnels_ended_total{code="shutting_down"}'
    for stack in gateways:
        wait_until(lambda stack=stack: count(stack, ended) == 1, "a goodbye")
        assert stack.workers_view() == []
