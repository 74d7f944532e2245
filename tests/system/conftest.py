"""Credentials made once for all system tests, and stacks of processes that end with the module that asked for them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest

from demo.stack import Credentials, Stack

NewStack = Callable[[str], Stack]


@pytest.fixture(scope="session")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    """A CA, keys, a client's token and three workers' tokens: read by all, changed by nobody."""
    made = Credentials(tmp_path_factory.mktemp("credentials"))
    made.make()
    for name in ("worker-1", "worker-2", "worker-3"):
        made.worker_token(name)
    return made


@pytest.fixture(scope="module")
def new_stack(credentials: Credentials, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewStack]:
    """Makes a stack with these credentials and its logs in a directory of its own; all are stopped at the end."""
    stacks: list[Stack] = []

    def make(name: str) -> Stack:
        stack = Stack(tmp_path_factory.mktemp(name))
        stack.credentials = credentials
        stacks.append(stack)
        return stack

    try:
        yield make
    finally:
        for stack in stacks:
            stack.stop()


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., float]:
    """Waits for a condition; returns the seconds that it took. Fails when it does not come."""

    def wait(condition: Callable[[], object], what: str, timeout_s: float = 30.0) -> float:
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < timeout_s, f"in {timeout_s:g} s not: {what}"
            time.sleep(0.01)
        return time.monotonic() - began

    return wait


@pytest.fixture(scope="session", autouse=True)
def plain_environment() -> Iterator[None]:
    """What this machine's environment says of proxies and gateways is none of these tests' business."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.lower() in ("http_proxy", "https_proxy", "all_proxy") or name.startswith("GATEWAY_"):
                patch.delenv(name)
        yield
