"""The client against servers that behave and servers that do not: each ends as a reason, none as an exception."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench.load.clock import NS, SystemClock
from bench.load.sample import INTERRUPTED, NOT_SENT, Sample
from bench.load.target import Picture, Target, tls_context
from bench.load.transport import HttpTransport
from tests.support.certificates import made
from tests.support.scripted_server import Reply, answer, scripted_server

PICTURE = Picture("a.png", "image/png", b"picture" * 1000)
OK = answer(b'{"worker": "w1"}', "200 OK", "X-Request-ID: abc", "Server-Timing: auth;dur=0.5, total;dur=3.25")


@asynccontextmanager
async def transport_to(url: str, **options: object) -> AsyncIterator[HttpTransport]:
    ca = options.pop("ca", None)
    target_options = {name: options.pop(name) for name in ("token", "wants_json") if name in options}
    context = tls_context(url, ca)  # type: ignore[arg-type]
    target = Target(url, (PICTURE, Picture("b.jpg", "image/jpeg", b"other")), context, **target_options)  # type: ignore[arg-type]
    with SystemClock() as clock:
        async with HttpTransport(target, clock, **options) as transport:  # type: ignore[arg-type]
            yield transport


async def send(transport: HttpTransport, index: int = 0, within_s: float = 30.0) -> Sample:
    now_ns = transport._clock.now_ns()
    sample = Sample(index, now_ns)
    await transport.send(sample, now_ns + round(within_s * NS))
    return sample


async def outcome(reply: Reply, **options: object) -> Sample:
    async with scripted_server(reply) as url, transport_to(url, **options) as transport:
        return await send(transport)


async def test_a_good_answer_fills_the_sample() -> None:
    """Times in order, bytes, worker, id and stages; the second request finds the connection of the first."""
    async with scripted_server(OK) as url, transport_to(url) as transport:
        first, second = await send(transport), await send(transport, 1)
    assert (first.status, first.reason, first.worker, first.request_id) == (200, "", "w1", "abc")
    assert (first.bytes_out, first.bytes_in, second.bytes_out) == (7000, 16, 5)
    assert list(first.stages) == [("auth", 0.5), ("total", 3.25)]
    assert first.t_int_ns <= first.t_send_ns < first.t_first_byte_ns <= first.t_done_ns
    assert (first.is_reused, second.is_reused) == (False, True)
    assert (first.tls_ns, second.connect_ns, second.tls_ns) == (0, 0, 0)
    assert first.connect_ns > 0


async def test_pictures_in_turn_with_type_and_token() -> None:
    """Each request carries the next picture as it is, its type and the token."""
    seen: list[tuple[bytes, bytes]] = []

    async def reply(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        seen.append((head, body))
        await OK(head, body, writer)

    async with scripted_server(reply) as url, transport_to(f"{url}/path?top=1", token="secret") as transport:
        for index in range(3):
            await send(transport, index)
    assert [body for _, body in seen] == [PICTURE.body, b"other", PICTURE.body]
    assert seen[0][0].startswith(b"POST /path?top=1 HTTP/1.1\r\n")
    assert b"Authorization: Bearer secret\r\n" in seen[0][0]
    assert b"Content-Type: image/jpeg\r\n" in seen[1][0]


async def test_without_keep_alive_each_request_connects() -> None:
    """Every request says `Connection: close` and has a connection of its own."""
    async with scripted_server(OK) as url, transport_to(url, keep_alive=False) as transport:
        samples = [await send(transport) for _ in range(3)]
    assert [sample.is_reused for sample in samples] == [False] * 3


async def test_a_bounded_number_of_connections_is_waited_for() -> None:
    """With one connection the second request waits for the first one's answer, and the wait is recorded."""
    both_are_here = asyncio.Event()

    async def reply(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        await both_are_here.wait()
        await OK(head, body, writer)

    async with scripted_server(reply) as url, transport_to(url, connections=1) as transport:
        tasks = [asyncio.create_task(send(transport, index)) for index in range(2)]
        while not transport._session.connector._waiters:  # type: ignore[union-attr]
            await asyncio.sleep(0)
        both_are_here.set()
        first, second = await asyncio.gather(*tasks)
    assert first.wait_ns == 0
    assert second.wait_ns > 0
    assert second.t_send_ns - second.t_int_ns >= second.wait_ns
    assert second.is_reused


@pytest.mark.parametrize(
    ("reply", "reason", "status"),
    [
        (answer(b"hello"), "not_json", 200),
        (answer(b"17"), "not_json", 200),
        (answer(b'{"code": "queue_full", "detail": "full"}', "503 Service Unavailable"), "queue_full", 503),
        (answer(b"<h1>no</h1>", "502 Bad Gateway"), "http_502", 502),
        (answer(b"", "302 Found", "Location: /elsewhere"), "http_302", 302),
    ],
)
async def test_an_answer_that_does_not_count(reply: Reply, reason: str, status: int) -> None:
    """Its status and a word are kept, with the times of an answer."""
    sample = await outcome(reply)
    assert (sample.reason, sample.status) == (reason, status)
    assert sample.t_done_ns >= sample.t_first_byte_ns > 0


async def test_any_answer_counts_when_told() -> None:
    """A server of another kind need not speak JSON."""
    assert (await outcome(answer(b"hello"), wants_json=False)).reason == ""


async def closes(_head: bytes, _body: bytes, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def resets(_head: bytes, _body: bytes, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def breaks_off(_head: bytes, _body: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    writer.close()


async def speaks_something_else(_head: bytes, _body: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example.com ESMTP\r\n\r\n")


async def is_endless(_head: bytes, _body: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")


@pytest.mark.parametrize(
    ("reply", "reasons"),
    [
        (closes, {"closed"}),
        (resets, {"closed", "reset"}),
        (breaks_off, {"cut_off"}),
        (speaks_something_else, {"not_http"}),
        (is_endless, {"cut_off"}),
    ],
)
async def test_no_answer(reply: Reply, reasons: set[str]) -> None:
    """A server that closes, resets, breaks off, or does not speak HTTP: a word for each, status 0, and a time of the
    end."""
    sample = await outcome(reply)
    assert sample.reason in reasons
    assert (sample.status, sample.bytes_in) == (0, 0)
    assert sample.t_done_ns > sample.t_send_ns > 0


async def test_nobody_listens() -> None:
    """Refused is a reason like others."""
    async with scripted_server(OK) as url:
        pass
    async with transport_to(url) as transport:
        assert (await send(transport)).reason == "refused"


async def is_silent(_head: bytes, _body: bytes, _writer: asyncio.StreamWriter) -> None:
    await asyncio.get_running_loop().create_future()


async def test_no_answer_in_time() -> None:
    """It ends at its deadline, as a time-out that was sent."""
    async with scripted_server(is_silent) as url, transport_to(url) as transport:
        sample = await send(transport, within_s=0.02)
    assert sample.reason == "timeout"
    assert sample.t_send_ns > 0
    assert sample.t_done_ns - sample.t_int_ns >= 0.02 * NS


async def test_what_is_over_its_time_is_not_sent() -> None:
    """A request whose time-out has passed before it could go, in the generator or for want of a connection, is not
    sent."""
    async with scripted_server(is_silent) as url, transport_to(url, connections=1) as transport:
        assert (await send(transport, within_s=-1)).reason == NOT_SENT
        first = asyncio.create_task(send(transport, within_s=30))
        while not transport._session.connector._acquired:  # type: ignore[union-attr]
            await asyncio.sleep(0)
        waiting = await send(transport, within_s=0.02)
        first.cancel()
        await asyncio.wait({first})
    assert (waiting.reason, waiting.t_send_ns) == (NOT_SENT, 0)


async def test_cancelled_is_interrupted() -> None:
    """A request that is cut off says so, and its cancellation goes on."""
    async with scripted_server(is_silent) as url, transport_to(url) as transport:
        sample = Sample(0, transport._clock.now_ns())
        task = asyncio.create_task(transport.send(sample, sample.t_int_ns + 30 * NS))
        while not sample.t_send_ns:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert sample.reason == INTERRUPTED
    assert sample.t_done_ns > 0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("certificates"))


def server_context(directory: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem", directory / "server.key")
    return context


async def test_connect_and_handshake_are_told_apart(certificates: Path) -> None:
    """The first request of a TLS connection has both, the next one neither."""
    async with (
        scripted_server(OK, server_context(certificates)) as url,
        transport_to(url, ca=certificates / "ca.pem") as transport,
    ):
        first, second = await send(transport), await send(transport)
    assert first.reason == second.reason == ""
    assert first.connect_ns > 0
    assert first.tls_ns > 0
    assert first.connect_ns + first.tls_ns < first.t_first_byte_ns - first.t_send_ns
    assert (second.connect_ns, second.tls_ns) == (0, 0)


async def test_another_ca_is_a_reason(certificates: Path, tmp_path: Path) -> None:
    """A certificate of another CA ends as `tls`."""
    other = made(tmp_path / "other")
    async with (
        scripted_server(OK, server_context(certificates)) as url,
        transport_to(url, ca=other / "ca.pem") as transport,
    ):
        assert (await send(transport)).reason == "tls"
        assert "CERTIFICATE_VERIFY_FAILED" in transport.last_detail
