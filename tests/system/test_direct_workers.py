"""A mixed pool of real processes: one worker that dialled in, one that the gateway reaches itself."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.stack import Credentials, Process, Stack
from gateway.client import Bounds, Client, ClientError, Outcome
from tests.support import certificates

SAMPLE = Path(__file__).parents[2] / "edge_worker/models/digits/samples/digit-7.png"
ONCE = Bounds(tries=1)
"""The client helps with nothing: what is lost shows."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Direct:
    """A worker that listens, always at the same address."""

    def __init__(self, stack: Stack, credentials: Credentials) -> None:
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        self._stack = stack
        self._options = ["--certificate-file", str(credentials.certificate), "--key-file", str(credentials.private_key)]
        self._options += ["--client-ca-file", str(credentials.ca)]
        self.process: Process

    def start(self) -> None:
        arguments = ["edge_worker", "serve", "--port", str(self.port), "--log-format", "json", *self._options]
        self.process = Process("direct", arguments, self._stack.directory / "direct.log", {})

    @property
    def state(self) -> str:
        """As the operator sees it; '' when it is not there."""
        found = [one for one in self._stack.workers_view() if one["worker"] == "direct"]
        return str(found[0]["models"][0]["state"]) if found else ""


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[str], Stack]) -> Stack:
    return new_stack("direct")


@pytest.fixture(scope="module")
def direct(stack: Stack, credentials: Credentials) -> Iterator[Direct]:
    """The pool: worker-1 dialled in, `direct` listens, and lets in who has a certificate of the development CA."""
    made = Direct(stack, credentials)
    made.start()
    config = stack.directory / "direct.toml"
    certificates.made(credentials.directory, "--client", "gateway")  # beside what is there
    mine = credentials.directory / "client-gateway"
    files = f'ca_file = "{credentials.ca}"\ncertificate_file = "{mine}.pem"\nkey_file = "{mine}.key"\n'
    config.write_text(f'[direct.workers.direct]\nurl = "{made.url}"\n{files}')
    stack.start_gateway(config=config, HEALTH__HEARTBEAT_INTERVAL_S=0.2)
    stack.start_worker("worker-1", "--backend", "opencv_dnn")
    stack.wait_ready("digits", 2)
    try:
        yield made
    finally:
        made.process.kill()


class Load:
    """Pictures, eight at a time, until it is told to end."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._is_over = threading.Event()
        self.outcomes: list[Outcome] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def workers(self, since: int = 0) -> Counter[str]:
        return Counter(one.worker for one in self.outcomes[since:] if not isinstance(one, ClientError))

    @property
    def failures(self) -> list[ClientError]:
        return [one for one in self.outcomes if isinstance(one, ClientError)]

    def _run(self) -> None:
        files = self._stack.credentials
        token = files.client_token.read_text().strip()
        picture = SAMPLE.read_bytes()
        endless = iter(lambda: None if self._is_over.is_set() else picture, None)
        with Client(self._stack.url, token=token, ca=files.ca, retry=ONCE) as client:
            for outcome in client.classify_many(endless, model="digits"):
                self.outcomes.append(outcome)


def test_both_kinds_share_the_work(stack: Stack, direct: Direct, wait_until: Callable[..., float]) -> None:
    """The same answers, the same anatomy, and the operator sees both."""
    with Load(stack) as load:
        wait_until(lambda: min(load.workers()["direct"], load.workers()["worker-1"]) > 20, "both have answered")
    assert not load.failures
    results = [one for one in load.outcomes if not isinstance(one, ClientError)]
    assert {one.label for one in results} == {"7"}
    for worker in ("direct", "worker-1"):
        stages = next(one for one in results if one.worker == worker).timing.stages_ms
        assert {"queue", "tunnel_out", "worker_queue", "decode", "inference", "tunnel_back", "total"} <= set(stages)
    with Client(direct.url, ca=stack.credentials.ca, retry=ONCE) as anybody:
        assert isinstance(anybody.classify_batch([SAMPLE], model="digits")[0], ClientError)  # without a certificate
    view = next(one for one in stack.workers_view() if one["worker"] == "direct")
    assert (view["about"]["address"], view["about"]["direct"]) == (direct.url, True)
    assert view["rtt_ms"] > 0


def test_a_direct_worker_that_is_killed_costs_nobody_anything(
    stack: Stack, direct: Direct, wait_until: Callable[..., float]
) -> None:
    """kill -9 under load: every picture is answered by somebody, and the worker has its share again when it is back."""
    with Load(stack) as load:
        wait_until(lambda: load.workers()["direct"] > 20, "it answers")
        direct.process.kill()
        wait_until(lambda: direct.state == "", "it is missed")
        before = len(load.outcomes)
        wait_until(lambda: len(load.outcomes) > before + 50, "the other one goes on")
        direct.start()
        wait_until(lambda: direct.state == "ready", "it is back")
        before = len(load.outcomes)
        wait_until(lambda: load.workers(before)["direct"] > 20, "it answers again")
    assert not load.failures, Counter(str(one) for one in load.failures)


def test_a_direct_worker_that_drains_costs_nobody_anything(
    stack: Stack, direct: Direct, wait_until: Callable[..., float]
) -> None:
    """SIGTERM under load: it finishes what it has, and leaves with status 0."""
    with Load(stack) as load:
        wait_until(lambda: load.workers()["direct"] > 20, "it answers")
        assert direct.process.stop() == 0
        before = len(load.outcomes)
        wait_until(lambda: len(load.outcomes) > before + 50, "the other one goes on")
    assert not load.failures, Counter(str(one) for one in load.failures)
    direct.start()
    wait_until(lambda: direct.state == "ready", "it is back")


def test_the_gateway_drains_with_both(stack: Stack, direct: Direct) -> None:
    """SIGTERM ends it with status 0, and the worker goes on listening for another."""
    assert stack.gateway.stop() == 0
    assert direct.process.is_running
