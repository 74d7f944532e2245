"""Leaving without losing anything: SIGTERM on a worker and on the gateway under load, and clients that leave."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
from collections.abc import Callable, Iterator

import pytest

from demo.stack import REPOSITORY, Stack
from tests.support.load import Load

SAMPLE = (REPOSITORY / "edge_worker/models/digits/samples/digit-7.png").read_bytes()
IN_FLIGHT = 50
ECHO = ("--backend", "echo", "--echo-service-time", "50ms", "--slots", "4")
SEED = "564"
"""With it `bimodal` draws the short time once, for the probe, and then the long one 40 times."""
DEADLINE_S = 120
"""Of every request: longer than any test waits, so that nothing here is ended by its deadline."""
NOW_S = 5.0
"""At once, on a busy machine; the work that is cut off would take far longer."""

WaitUntil = Callable[..., float]


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[str], Stack]) -> Stack:
    """Two echo workers; see `serving`."""
    stack = new_stack("drain")
    stack.start_gateway(DISPATCH__PROBE_IDLE_S=0)
    for name in ("worker-1", "worker-2"):
        stack.start_worker(name, *ECHO)
    return stack


@pytest.fixture
def serving(stack: Stack) -> Stack:
    """A gateway that runs and two workers that are ready for `echo`, whatever the test before did to them."""
    if stack.gateway.is_stopping:
        stack.gateway.stop()
        for name in list(stack.workers):  # they would come back by themselves, each time after a longer wait
            stack.workers.pop(name).kill()
        stack.start_gateway(stack.port, DISPATCH__PROBE_IDLE_S=0)
    for name in ("worker-1", "worker-2"):
        if name not in stack.workers:
            stack.start_worker(name, *ECHO)
    stack.wait_ready("echo", 2)
    return stack


@pytest.fixture
def start_slow(serving: Stack) -> Iterator[Callable[[str], None]]:
    """Starts worker-3, which serves the model `slow`: jobs take the time that is given, its probe does not."""

    def start(service_time: str) -> None:
        options = ("--echo-model", "slow", "--echo-service-time", f"bimodal:1ms,{service_time},0.9", "--seed", SEED)
        serving.start_worker("worker-3", "--backend", "echo", "--slots", "4", *options)
        serving.wait_ready("slow", 1)

    yield start
    serving.workers.pop("worker-3").kill()


class Client:
    """One TLS connection, written to by hand."""

    def __init__(self, stack: Stack) -> None:
        self._token = stack.credentials.client_token.read_text().strip()
        plain = socket.create_connection(("localhost", stack.port), timeout=30)
        context = ssl.create_default_context(cafile=stack.credentials.ca)
        # An end without TLS's own goodbye is an error here: it might be someone in between who cut it.
        self._socket = context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)

    def post(self, model: str, size_bytes: int, body: bytes = b"", content_type: str = "image/png") -> None:
        """The head of a request, and as much of its body as is given."""
        head = (
            f"POST /inference/{model} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self._token}\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {size_bytes}\r\nX-Request-Timeout: {DEADLINE_S}\r\n\r\n"
        )
        self.send(head.encode() + body)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], object]:
        """Status, headers by lower-case name, and the document."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._more()
        head, _, body = received.partition(b"\r\n\r\n")
        status, *fields = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        while len(body) < int(headers["content-length"]):
            body += self._more()
        return int(status.split()[1]), headers, json.loads(body)

    def is_at_end(self) -> bool:
        """Waits for the connection's end; False when something else comes. Raises ssl.SSLEOFError when it is cut."""
        return self._socket.recv(1) == b""

    def close(self) -> None:
        self._socket.close()

    def _more(self) -> bytes:
        data = self._socket.recv(65536)
        assert data, "the connection ended before the answer"
        return data


@pytest.fixture
def connect(serving: Stack) -> Iterator[Callable[[], Client]]:
    """Opens connections, which are closed at the end."""
    clients: list[Client] = []

    def make() -> Client:
        clients.append(Client(serving))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def multipart(parts: list[bytes]) -> tuple[list[bytes], str]:
    """The pieces of a multipart body, one for each part, the last with the end; and its content type."""
    pieces = [
        b'--cut\r\nContent-Disposition: form-data; name="f"; filename="%d.png"\r\n\r\n%s\r\n' % (number, part)
        for number, part in enumerate(parts)
    ]
    pieces[-1] += b"--cut--\r\n"
    return pieces, "multipart/form-data; boundary=cut"


async def test_sigterm_on_a_worker_loses_nothing(serving: Stack) -> None:
    """A worker that is told to leave under load finishes what it has and exits 0; no client sees an error."""
    worker = serving.workers.pop("worker-2")
    async with Load(serving, "/inference/echo", SAMPLE, in_flight=IN_FLIGHT) as load:
        await load.wait_answers(100)
        worker.begin_stop()
        status = await asyncio.to_thread(worker.wait)
        await load.wait_answers(100)
    assert status == 0
    assert load.failures() == []
    assert {outcome.worker for outcome in load.outcomes} == {"worker-1", "worker-2"}
    assert {outcome.worker for outcome in load.outcomes[-50:]} == {"worker-1"}
    assert "left with work undone" not in worker.output()
    assert "worker_lost" not in serving.gateway.output(), "nothing had to be done twice"


async def test_sigterm_on_the_gateway_loses_nothing(serving: Stack) -> None:
    """Whatever was accepted is answered; what comes after is refused with 503 and Retry-After, or finds no listener.
    No connection is cut under a request. The gateway exits 0."""
    async with Load(serving, "/inference/echo", SAMPLE, in_flight=IN_FLIGHT) as load:
        await load.wait_answers(200)
        before = len(load.outcomes)
        serving.gateway.begin_stop()
        status = await asyncio.to_thread(serving.gateway.wait)
    assert status == 0
    assert {(one.status, one.error) for one in load.failures()} <= {(503, "draining"), (0, "not connected")}
    assert all(one.retry_after_s for one in load.failures() if one.status == 503)
    assert len(load.outcomes) > before + len(load.failures()), "some were answered after the signal"
    assert "left with work undone" not in serving.gateway.output()


def test_a_draining_gateway_says_so(
    serving: Stack, start_slow: Callable[[str], None], connect: Callable[[], Client]
) -> None:
    """While work is in flight after SIGTERM, /readyz is 503 and new work is refused, on old connections and new ones;
    the work in flight gets its answer, and each connection an orderly end."""
    start_slow("3s")
    busy, old = connect(), connect()
    busy.post("slow", len(SAMPLE), SAMPLE)
    old.post("echo", len(SAMPLE), SAMPLE)
    assert old.answer()[0] == 200
    serving.gateway.begin_stop()
    serving.gateway.wait_event("draining")

    assert serving.request("GET", "/readyz")[0] == 503
    assert serving.request("GET", "/healthz")[0] == 200
    status, headers, _ = serving.request("POST", "/inference/echo", SAMPLE, {"Content-Type": "image/png"})
    assert (status, headers["Retry-After"].isdigit()) == (503, True)
    old.post("echo", len(SAMPLE), SAMPLE)
    status, headers, problem = old.answer()
    assert (status, headers["retry-after"].isdigit()) == (503, True)
    assert isinstance(problem, dict)
    assert problem["code"] == "draining"
    assert headers["connection"] == "close", "the next request is not to find a gateway that is gone"
    assert old.is_at_end()

    status, headers, answer = busy.answer()
    assert (status, headers["connection"]) == (200, "close"), answer
    assert busy.is_at_end()
    assert serving.gateway.wait() == 0


def test_an_idle_connection_ends_in_order(serving: Stack, connect: Callable[[], Client]) -> None:
    """A connection kept alive without a request is closed with TLS's goodbye, and delays nothing."""
    idle = connect()
    idle.post("echo", len(SAMPLE), SAMPLE)
    assert idle.answer()[0] == 200
    serving.gateway.begin_stop()
    assert idle.is_at_end()
    assert serving.gateway.wait() == 0


def test_uploads_in_progress_are_served(serving: Stack, connect: Callable[[], Client]) -> None:
    """A photograph, and a request with many, that are half here when SIGTERM comes are still answered in full."""
    one, many = connect(), connect()
    one.post("echo", len(SAMPLE), SAMPLE[:100])
    pieces, content_type = multipart([SAMPLE] * 4)
    many.post("echo", sum(map(len, pieces)), pieces[0] + pieces[1][:100], content_type)
    accepted = connect()
    accepted.post("echo", len(SAMPLE), SAMPLE)
    assert accepted.answer()[0] == 200  # later than the two heads above, so those have been read as well
    serving.gateway.begin_stop()
    serving.gateway.wait_event("draining")
    one.send(SAMPLE[100:])
    many.send(pieces[1][100:])
    many.send(pieces[2] + pieces[3])
    assert one.answer()[0] == 200
    status, _, answers = many.answer()
    assert status == 200
    assert isinstance(answers, list)
    assert [answer.get("bytes") for answer in answers] == [len(SAMPLE)] * 4
    assert serving.gateway.wait() == 0


@pytest.mark.parametrize("who", ["gateway", "worker"])
def test_a_second_signal_means_now(
    serving: Stack, start_slow: Callable[[str], None], connect: Callable[[], Client], wait_until: WaitUntil, who: str
) -> None:
    """Work that would take a minute is cut off by a second SIGTERM, and the exit status tells the signal."""
    start_slow("60s")
    connect().post("slow", len(SAMPLE), SAMPLE)
    wait_until(lambda: at_work(serving) == 1, "the worker has begun")
    process = serving.gateway if who == "gateway" else serving.workers["worker-3"]
    process.begin_stop()
    process.wait_event("draining")
    process.signal(signal.SIGTERM)
    assert process.wait(NOW_S) == 128 + signal.SIGTERM


def test_work_of_a_client_that_leaves_is_cancelled(
    serving: Stack, start_slow: Callable[[str], None], connect: Callable[[], Client], wait_until: WaitUntil
) -> None:
    """The worker itself reports that it has nothing to do any more, long before the work would have been done."""
    start_slow("60s")
    client = connect()
    client.post("slow", len(SAMPLE), SAMPLE)
    wait_until(lambda: at_work(serving) == 1, "the worker has begun")
    client.close()
    wait_until(lambda: at_work(serving) == 0, "the worker dropped what nobody waits for")


def at_work(stack: Stack) -> int:
    """How many calls worker-3 says that it runs."""
    load = next(worker["load"] for worker in stack.workers_view() if worker["worker"] == "worker-3")
    return int(load["running"]) if load else 0
