"""Both clients against a server in the same process: many at once, in order, within a deadline, and a clean end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

import gateway.errors
from gateway.client import AsyncClient, BadPicture, Busy, Client, ClientError, TimedOut
from gateway.client.errors import _KINDS, BadAnswer
from gateway.client.retry import Patience
from tests.support.picture_server import CAT, VirtualClock, answering, client_of, served

FULL = {"status": 503, "code": "no_worker", "detail": "nobody"}


async def labelled(request: web.Request) -> web.Response:
    """The body is the label."""
    label = (await request.read()).decode()
    return web.json_response({"predictions": [{"index": 0, "label": label, "probability": 1.0}]})


async def test_a_refused_picture_is_sent_again_within_its_deadline() -> None:
    """Twice 503 with Retry-After 2, then an answer; what is left of the deadline goes along each time."""
    left: list[float] = []

    async def handle(request: web.Request) -> web.Response:
        left.append(float(request.headers["X-Request-Timeout"]))
        if len(left) < 3:
            return web.json_response(FULL, status=503, headers={"Retry-After": "2"})
        return web.json_response(CAT)

    async with client_of(handle) as client:
        result = await client.classify(b"x", model="m", timeout_s=20.0)
        clock = client.patience.clock
    assert isinstance(clock, VirtualClock)
    assert result.tries == 3
    assert left == pytest.approx([20.0, 20.0 - clock.sleeps[0], 20.0 - sum(clock.sleeps)], abs=0.001)
    assert all(wait >= 2 for wait in clock.sleeps)
    assert result.timing.waited_ms == pytest.approx(1000 * sum(clock.sleeps))


async def test_a_deadline_ends_all_tries() -> None:
    """The refusal itself is the answer when there is no time for another."""
    async with client_of(answering(FULL, 503, **{"Retry-After": "2"})) as client:
        with pytest.raises(Busy) as caught:
            await client.classify(b"x", model="m", timeout_s=1.5)
    assert caught.value.tries == 1


async def test_a_server_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """TimedOut, and what to do."""
    monkeypatch.setattr("gateway.client.connection.GRACE_S", 0.0)

    async def hang(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with client_of(hang) as client:
        with pytest.raises(TimedOut, match="timeout_s"):
            await client.classify(b"x", model="m", timeout_s=0.01)


async def test_many_are_bounded_and_in_order() -> None:
    """Of twelve always three in flight; later ones that are answered first wait for their turn."""
    running = most = 0
    three = asyncio.Barrier(3)
    taken: list[int] = []

    def sources() -> Iterator[bytes]:
        for place in range(12):
            taken.append(place)
            yield str(place).encode()

    async def handle(request: web.Request) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await three.wait()
        running -= 1
        return await labelled(request)

    async with client_of(handle) as client:
        labels = []
        async for outcome in client.classify_many(sources(), model="m", concurrency=3):
            assert not isinstance(outcome, ClientError)
            assert len(taken) <= len(labels) + 4
            labels.append(outcome.label)
    assert labels == [str(place) for place in range(12)]
    assert most == 3


async def test_leaving_many_early_drops_what_is_in_flight() -> None:
    """No task is left behind."""
    async with client_of(labelled) as client:
        outcomes = client.classify_many((str(n).encode() for n in range(100)), model="m", concurrency=4)
        async for _ in outcomes:
            break
        await outcomes.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_connections_are_kept() -> None:
    """Ten calls, one connection."""
    ports = set()

    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        return web.json_response(CAT)

    async with client_of(handle) as client:
        for _ in range(10):
            await client.classify(b"x", model="m")
    assert len(ports) == 1


async def test_what_is_no_picture_is_a_mistake_of_the_program() -> None:
    """A TypeError that says what is taken, not an outcome."""
    async with client_of(labelled) as client:
        with pytest.raises(TypeError, match="not int"):
            await client.classify(7, model="m")  # type: ignore[arg-type]


@pytest.fixture
def url() -> Iterator[str]:
    """A server in a thread of its own, for clients that wait."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    stack = served(labelled)
    try:
        yield asyncio.run_coroutine_threadsafe(stack.__aenter__(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(stack.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_program_without_a_loop(url: str, tmp_path: Path) -> None:
    """One, a batch's refusal, many in order with a bad one among them, and an end that leaves no thread."""
    before = threading.active_count()
    (tmp_path / "a.png").write_bytes(b"from a file")
    with Client(url, token="") as client:
        assert client.classify(tmp_path / "a.png", model="m").label == "from a file"
        assert client.classify(b"seven", model="m", timeout_s=10).label == "seven"
        (outcome,) = client.classify_batch([b"eight"], model="m")
        assert not isinstance(outcome, ClientError)
        sources: list[Path | bytes] = [b"0", tmp_path / "gone.png", *(str(n).encode() for n in range(2, 20))]
        outcomes = list(client.classify_many(sources, model="m", concurrency=3))
    said = [one.code if isinstance(one, ClientError) else one.label for one in outcomes]
    assert said == ["0", "unreadable", *map(str, range(2, 20))]
    assert isinstance(outcomes[1], BadPicture)
    assert threading.active_count() == before
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.classify(b"x", model="m")


def test_several_threads_share_a_client(url: str) -> None:
    """Each has its own answers."""
    found: dict[int, str] = {}
    with Client(url, token="") as client:

        def work(number: int) -> None:
            found[number] = client.classify(str(number).encode(), model="m").label

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {number: str(number) for number in range(8)}


async def test_the_token_is_the_environments_unless_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """GATEWAY_TOKEN; an empty one sends none."""
    monkeypatch.setenv("GATEWAY_TOKEN", "from-outside")
    seen: list[str | None] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response(CAT)

    async with served(handle) as url:
        for token in (None, "", "mine"):
            async with AsyncClient(url, token=token) as client:
                await client.classify(b"x", model="m")
    assert seen == ["Bearer from-outside", None, "Bearer mine"]


async def test_a_worker_can_be_named() -> None:
    """X-Worker, for a gateway that lets its clients choose; by default there is none."""
    seen: list[str | None] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request.headers.get("X-Worker"))
        return web.json_response(CAT)

    async with served(handle) as url:
        for worker in (None, "gpu-1"):
            async with AsyncClient(url, token="", worker=worker) as client:
                await client.classify(b"x", model="m")
    assert seen == [None, "gpu-1"]


def test_a_wrong_address_or_ca_is_said_at_once() -> None:
    """Before any picture is read."""
    with pytest.raises(ValueError, match="is not an address"):
        Client("localhost:8443")
    with pytest.raises(ValueError, match="as a CA"):
        AsyncClient("https://g", ca=__file__)


def test_every_code_of_the_gateway_has_its_class() -> None:
    """What the gateway can say is never the error for answers that are none of a gateway's."""
    classes = [kind for kind in vars(gateway.errors).values() if isinstance(kind, type)]
    said = {kind.code for kind in classes if issubclass(kind, gateway.errors.GatewayError)}
    assert said
    assert {code for code in said if _KINDS.get(code, BadAnswer) is BadAnswer} == set()


def test_importing_it_stays_light() -> None:
    """A program that imports the client loads aiohttp and the standard library, and nothing of the server."""
    show = "import sys, gateway.client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, timeout=60, check=True)
    loaded = done.stdout.split()
    ours = {name for name in loaded if name.split(".")[0] in ("gateway", "wire", "edge_worker")}
    assert {name for name in ours if not name.startswith("gateway.client")} == {"gateway"}
    heavy = {"numpy", "cv2", "pydantic", "structlog", "jwt", "uvloop", "prometheus_client"}
    assert not heavy & set(loaded)


async def test_many_calls_share_one_client() -> None:
    """A patience of the caller's own counts what all calls did."""
    patience = Patience(clock=VirtualClock())
    async with served(labelled) as url, AsyncClient(url, token="", retry=patience) as client:
        await asyncio.gather(*(client.classify(b"x", model="m") for _ in range(5)))
    assert patience.requests == 5
