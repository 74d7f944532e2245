"""Whoever must not be let in, and whoever breaks the tunnel's rules, is told why, is counted, and disturbs nobody."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.exceptions import InvalidStatus

from demo.stack import Stack
from gateway.auth import sign
from gateway.keys import KeyDirectory
from tests.support.bystander import Bystander
from tests.support.credentials import part
from tests.support.hand_worker import Ending, HandWorker, dialled, hello
from tests.support.scrape import count, scrape
from tests.support.tokens import claims, replace, token
from wire.codec import HEADER
from wire.frames import GoAway, Ping, Pong, Request, Response, ResponseHead, Welcome
from wire.limits import MAX_MESSAGE_BYTES

WaitUntil = Callable[..., float]


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[str], Stack]) -> Stack:
    """A gateway and one worker with two models, whose slots leave room for the bystander. It takes its time: somebody
    quicker who shares a model is given the next job."""
    stack = new_stack("tunnel-refusals")
    stack.start_gateway()
    models = ("--echo-model", "echo", "--echo-model", "shared")
    stack.start_worker("worker-1", "--backend", "echo", *models, "--slots", "4", "--echo-service-time", "20ms")
    stack.wait_ready("shared", 1)
    return stack


@pytest.fixture(scope="module")
def bystander(stack: Stack) -> Iterator[Bystander]:
    with Bystander(stack) as bystander:
        yield bystander


@pytest.fixture(autouse=True)
def undisturbed(bystander: Bystander) -> Iterator[None]:
    """The other worker answers all the time."""
    yield
    bystander.check()


Silence = Callable[[], tuple[Stack, Ending, float]]


@pytest.fixture(scope="module", autouse=True)
def silence(new_stack: Callable[[str], Stack]) -> Iterator[Silence]:
    """One who connects and says nothing, from the first test on, at a gateway of its own. Calling it waits for how that
    ends; it gives the gateway, the end, and after how many seconds."""
    stack = new_stack("silence")
    stack.start_gateway()
    found: list[tuple[Stack, Ending, float]] = []

    async def say_nothing() -> None:
        began = time.monotonic()
        async with dialled(stack, token(stack.credentials)) as worker:
            found.append((stack, await worker.ending(), time.monotonic() - began))

    thread = threading.Thread(target=lambda: asyncio.run(say_nothing()))
    thread.start()

    def wait() -> tuple[Stack, Ending, float]:
        thread.join(60)
        return found[0]

    yield wait
    thread.join()


def forged(stack: Stack) -> str:
    """Signed by a stranger who claims the gateway's own key."""
    kid = KeyDirectory(stack.credentials.keys).signing_key().kid
    return sign(claims(), Ed25519PrivateKey.generate(), "EdDSA", kid)


def unsigned(stack: Stack) -> str:
    """With the algorithm `none` and no signature."""
    kid = KeyDirectory(stack.credentials.keys).signing_key().kid
    return f"{part({'alg': 'none', 'typ': 'JWT', 'kid': kid})}.{part(claims())}."


def signed_with_public_key(stack: Stack) -> str:
    """HMAC with what everybody has, as libraries fell for that let the token choose."""
    key = KeyDirectory(stack.credentials.keys).signing_key()
    public = json.dumps((stack.credentials.keys / "jwks.json").read_text())
    return jwt.encode(claims(), public, algorithm="HS256", headers={"kid": key.kid})


def wrong_audience(stack: Stack) -> str:
    return token(stack.credentials, aud="elsewhere")


def wrong_issuer(stack: Stack) -> str:
    return token(stack.credentials, iss="elsewhere")


REFUSED = {
    "no token": (lambda stack: None, 401, "missing", "a token is needed"),
    "expired": (lambda stack: token(stack.credentials, exp=int(time.time()) - 60), 401, "expired", "expired at"),
    "forged": (forged, 401, "signature", "signature is wrong"),
    "unsigned": (unsigned, 401, "algorithm", "not that of the key"),
    "signed with the public key": (signed_with_public_key, 401, "algorithm", "not that of the key"),
    "for another audience": (
        wrong_audience,
        401,
        "audience",
        "another audience",
    ),
    "of another issuer": (
        wrong_issuer,
        401,
        "issuer",
        "issuer (iss) is not",
    ),
    "no JWT": (lambda stack: "abc", 401, "malformed", "not a JWT"),
    "no worker's": (lambda stack: token(stack.credentials, scope="infer:* admin"), 403, None, "no worker scope"),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_a_token_that_lets_nobody_in(kind: str, stack: Stack) -> None:
    """The upgrade is refused with a problem that says why, counted by reason, and no tunnel was there to end."""
    make, status, reason, text = REFUSED[kind]
    failure = {401: "unauthenticated", 403: "forbidden"}[status]
    before = scrape(stack)
    with pytest.raises(InvalidStatus) as refusal:
        async with dialled(stack, make(stack)):
            pass
    answer = refusal.value.response
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    problem = json.loads(answer.body or b"")
    assert (problem["status"], problem["code"]) == (status, failure)
    assert text in problem["detail"]
    if reason is not None:
        assert grew(before, stack, f'gateway_tokens_refused_total{{reason="{reason}"}}') == 1
    assert grew(before, stack, f'gateway_request_failures_total{{reason="{failure}"}}') == 1
    assert grew(before, stack, "gateway_tunnels_opened_total") == 0


async def test_a_stranger_to_the_subprotocol(stack: Stack) -> None:
    """A WebSocket without the subprotocol, or with another, gets a 400 that names it, before any upgrade."""
    before = scrape(stack)
    for offered in ((), ("edge-inference.v9",)):
        with pytest.raises(InvalidStatus) as refusal:
            async with dialled(stack, token(stack.credentials), subprotocols=offered):
                pass
        answer = refusal.value.response
        assert answer.status_code == 400
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert "edge-inference.v1" in json.loads(answer.body or b"")["detail"]
    assert grew(before, stack, 'gateway_request_failures_total{reason="bad_request"}') == 2


async def send_hello_of_another(worker: HandWorker) -> None:
    await worker.say(hello("somebody-else"))


async def send_hello_of_tomorrow(worker: HandWorker) -> None:
    await worker.say(hello("by-hand", version=7))


async def send_two_hellos(worker: HandWorker) -> None:
    await worker.say(hello("by-hand"), hello("by-hand"))


async def send_too_early(worker: HandWorker) -> None:
    await worker.say(Ping(1))


async def send_lie_about_length(worker: HandWorker) -> None:
    await enter(worker)
    await worker.websocket.send(HEADER.pack(Response.TYPE, 0, 1) + struct.pack(">I", 5000) + b"{}")


async def send_half_a_header(worker: HandWorker) -> None:
    await enter(worker)
    await worker.websocket.send(b"\x12\x00")


async def send_unasked(worker: HandWorker) -> None:
    await enter(worker)
    await worker.say(Response(7, ResponseHead(200), b"nobody asked", end=True))


async def send_text(worker: HandWorker) -> None:
    await enter(worker)
    await worker.websocket.send("hello")


async def send_too_much(worker: HandWorker) -> None:
    await enter(worker)
    await worker.websocket.send(HEADER.pack(Response.TYPE, 0, 1) + bytes(MAX_MESSAGE_BYTES))


async def enter(worker: HandWorker) -> None:
    """Is welcomed."""
    await worker.say(hello("by-hand"))
    await worker.hear_one(Welcome)


BROKEN = {
    "another's name": (send_hello_of_another, "unauthorized", 4003, "may not join as worker somebody-else"),
    "another version": (send_hello_of_tomorrow, "version_unsupported", 4005, "this gateway speaks version 1, the wo"),
    "two HELLOs": (send_two_hellos, "protocol_error", 4004, "HELLO"),
    "no HELLO first": (send_too_early, "protocol_error", 4004, "PING is not for a OPENING session"),
    "a lie about a length": (send_lie_about_length, "protocol_error", 4004, "RESPONSE: a head of 5000 bytes in a fra"),
    "half a header": (send_half_a_header, "protocol_error", 4004, "a message of 2 bytes is shorter than"),
    "an answer to nothing": (send_unasked, "protocol_error", 4004, "exchange 7 was never opened"),
    "a text message": (send_text, "protocol_error", 4004, "a text message"),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_worker_that_breaks_a_rule(kind: str, stack: Stack, wait_until: WaitUntil) -> None:
    """The tunnel ends with a GOAWAY and a close code that both say which rule, and the end is counted by code."""
    misbehave, code, close_code, text = BROKEN[kind]
    series = f'gateway_tunnels_ended_total{{code="{code}"}}'
    before = count(stack, series)
    async with asyncio.timeout(20), dialled(stack, token(stack.credentials, scope="worker:by-hand")) as worker:
        await misbehave(worker)
        ending = await worker.ending()
    assert ending.goaway is not None
    assert text in ending.goaway.text
    assert (ending.code, ending.goaway.code) == (close_code, close_code - 4000)
    assert ending.goaway.text.startswith(ending.reason)
    assert ending.reason
    wait_until(lambda: count(stack, series) == before + 1, "the end is counted")


async def test_a_message_over_the_limit(stack: Stack, wait_until: WaitUntil) -> None:
    """It is not read to its end: the WebSocket closes with 1009, message too big, and the tunnel counts as lost."""
    series = 'gateway_tunnels_ended_total{code="peer_lost"}'
    before = count(stack, series)
    async with asyncio.timeout(20), dialled(stack, token(stack.credentials, scope="worker:by-hand")) as worker:
        await send_too_much(worker)
        ending = await worker.ending()
    assert ending.code == 1009
    wait_until(lambda: count(stack, series) == before + 1, "the end is counted")


@pytest.fixture
async def first(stack: Stack) -> AsyncIterator[HandWorker]:
    """Who holds the name `twin`, as the first of two."""
    async with dialled(stack, token(stack.credentials)) as worker:
        await worker.say(hello("twin", generation=1))
        await worker.hear_one(Welcome)
        yield worker


async def test_two_workers_with_one_name_by_hand(stack: Stack, first: HandWorker) -> None:
    """The newer takes over at once and the older gets 4002; when that one returns it gets 4006; the newer stays."""
    before = scrape(stack)
    async with asyncio.timeout(20), dialled(stack, token(stack.credentials)) as second:
        await second.say(hello("twin", generation=2))
        await second.hear_one(Welcome)
        ending = await first.ending()
        assert ending.code == 4002
        assert "a newer session of twin took over" in ending.reason
        async with dialled(stack, token(stack.credentials)) as returning:
            await returning.say(hello("twin", generation=1, dial=2))
            ending = await returning.ending()
            assert ending.code == 4006
            assert "held by a worker that was started later" in ending.reason
        await second.hear_one(Ping)
        assert [view["worker"] for view in stack.workers_view() if view["worker"] == "twin"] == ["twin"]
    assert grew(before, stack, 'gateway_tunnels_ended_total{code="superseded"}') == 1
    assert grew(before, stack, 'gateway_tunnels_ended_total{code="identity_in_use"}') == 1


def test_two_processes_with_one_name(
    stack: Stack, new_stack: Callable[[str], Stack], tmp_path: Path, wait_until: WaitUntil
) -> None:
    """Two processes were given one name: the one that was started later has it and keeps it, and the other, told so
    twice, does not come back in a hurry."""
    opened = count(stack, "gateway_tunnels_opened_total")
    token_file = tmp_path / "older.token"
    token_file.write_text(token(stack.credentials, scope="worker:twins"))
    options = ("--backend", "echo", "--echo-model", "twins", "--token-file", str(token_file))
    older = stack.start_worker("twins", *options)
    older.wait_event("connected")
    elsewhere = new_stack("twins")
    newer = elsewhere.start_worker("twins", *options, gateway=f"wss://localhost:{stack.port}")
    newer.wait_event("connected")
    wait_until(lambda: ends(older) == ["superseded"], "the older is told that it was superseded")
    replace(token_file, token(stack.credentials, scope="worker:twins"))  # a new token is a reason to dial at once
    wait_until(lambda: ends(older) == ["superseded", "identity_in_use"], "the older is told that its name is in use")
    stack.wait_ready("twins", 1)
    status, _, body = stack.request("POST", "/inference/twins", b"picture", {"Content-Type": "image/png"})
    assert (status, json.loads(body)["worker"]) == (200, "twins")
    assert ends(newer) == []
    assert len(newer.events("connected")) == 1
    assert count(stack, "gateway_tunnels_opened_total") - opened == 2
    assert min(line["retry_s"] for line in older.events("disconnected")) >= 30


def ends(process: Any) -> list[str]:
    """The reasons for which a worker's tunnels ended, in order."""
    return [line["code"] for line in process.events("disconnected")]


async def test_a_worker_that_vanishes_with_a_job(stack: Stack, wait_until: WaitUntil) -> None:
    """Its connection is cut in the middle of an answer: the job goes to another worker, and its client sees nothing."""
    before = scrape(stack)
    async with asyncio.timeout(30), dialled(stack, token(stack.credentials)) as worker:
        await worker.say(hello("vanishing", model="shared"))
        clients: list[asyncio.Task[list[tuple[int, Any, bytes]]]] = []
        vanished = asyncio.Event()
        while True:
            frame = await worker.hear()
            if isinstance(frame, Ping):
                await worker.say(Pong(frame.sent_us, 1, 1))
            elif isinstance(frame, Request) and frame.head.method == "PROBE":
                await worker.say(Response(frame.exchange, ResponseHead(200), b"{}", end=True))
                clients += [asyncio.create_task(post_until(vanished, stack)) for _ in range(6)]
            elif isinstance(frame, Request):
                await worker.say(Response(frame.exchange, ResponseHead(200, body_bytes=100), b"half"))
                worker.vanish()
                vanished.set()
                break
        answers = [answer for answers in await asyncio.gather(*clients) for answer in answers]
    assert {status for status, _, _ in answers} == {200}
    assert {json.loads(body)["worker"] for _, _, body in answers} == {"worker-1"}
    wait_until(lambda: grew(before, stack, 'gateway_tunnels_ended_total{code="peer_lost"}') == 1, "the end is counted")
    assert grew(before, stack, 'gateway_jobs_retried_total{worker="vanishing"}') >= 1


async def post_until(over: asyncio.Event, stack: Stack) -> list[tuple[int, Any, bytes]]:
    """Asks one time after the other; all answers."""
    answers = []
    while not over.is_set():
        ask = asyncio.to_thread(stack.request, "POST", "/inference/shared", b"x", {"Content-Type": "image/png"})
        answers.append(await ask)
    return answers


async def test_a_worker_that_answers_what_it_likes(stack: Stack) -> None:
    """One exchange that is answered against its own promise fails alone: the tunnel and its other exchanges go on."""
    async with asyncio.timeout(30), dialled(stack, token(stack.credentials)) as worker:
        await worker.say(hello("odd", model="odd"))
        probe = await worker.hear_one(Request)
        assert isinstance(probe, Request)
        await worker.say(Response(probe.exchange, ResponseHead(200), b"{}", end=True))
        stack_ready = asyncio.to_thread(stack.wait_ready, "odd", 1)
        beat = asyncio.create_task(worker.hear_one(Request))
        await stack_ready
        asked = asyncio.create_task(
            asyncio.to_thread(stack.request, "POST", "/inference/odd", b"picture", {"Content-Type": "image/png"})
        )
        request = await beat
        assert isinstance(request, Request)
        await worker.say(Response(request.exchange, ResponseHead(200, body_bytes=2), b"more than two", end=True))
        status, _, _ = await asked
        assert status == 502
        await worker.hear_one(Ping)
        assert any(view["worker"] == "odd" for view in stack.workers_view())
        await worker.say(GoAway(1, "done"))


def test_one_who_says_nothing(silence: Silence) -> None:
    """A connection without a HELLO is closed when its time is up, with the reason."""
    stack, ending, lived_s = silence()
    assert ending.code == 4007
    assert ending.reason == "no HELLO within 10 s"
    assert lived_s > 9
    assert count(stack, 'gateway_tunnels_ended_total{code="peer_lost"}') == 1


def grew(before: dict[str, float], stack: Stack, series: str) -> float:
    return count(stack, series) - before.get(series, 0.0)
