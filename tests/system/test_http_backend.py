"""Servers behind the tunnel, as their clients see them: real processes, real TLS, and what servers do to proxies."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from demo.stack import REPOSITORY, Stack
from tests.support.tls_client import TlsClient
from tests.support.upstream import Request, Upstream, ok

PHOTOGRAPH = (REPOSITORY / "edge_worker/models/digits/samples/digit-7.png").read_bytes() * 200
HOST = "old.example.org"
WaitUntil = Callable[..., float]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        yield server


@pytest.fixture(scope="module")
def flask_port() -> Iterator[int]:
    """The port of the Flask server, in a process of its own."""
    command = [sys.executable, "-m", "tests.support.flask_app"]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[str], Stack], upstream: Upstream, flask_port: int) -> Stack:
    """One worker with two services: `raw`, which does what a test says, and `flask`."""
    stack = new_stack("http-backend")
    stack.start_gateway(TUNNEL__HOSTS=f"{HOST}=raw")
    stack.start_worker(
        *("worker-1", "--backend", "http", "--upstream", f"raw={upstream.url}"),
        *("--upstream", f"flask=http://127.0.0.1:{flask_port}"),
    )
    stack.wait_ready("raw", 1)
    stack.wait_ready("flask", 1)
    return stack


@pytest.fixture
def client(stack: Stack) -> Iterator[TlsClient]:
    with TlsClient(stack) as client:
        yield client


class Gate:
    """Something a handler waits for, on its thread, until the test opens it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def open(self) -> None:
        self._event.set()

    async def passed(self) -> None:
        assert await asyncio.to_thread(self._event.wait, 30), "the test never opened this gate"

    def wait(self) -> None:
        assert self._event.wait(30), "it never happened"


def test_a_flask_server_is_served_unchanged(stack: Stack) -> None:
    """A photograph goes in by POST and JSON comes back, as from the server itself."""
    status, headers, body = stack.request("POST", "/tunnel/flask/classify", PHOTOGRAPH, {"Content-Type": "image/png"})
    assert status == 200
    expected = {"bytes": len(PHOTOGRAPH), "sha256": hashlib.sha256(PHOTOGRAPH).hexdigest(), "type": "image/png"}
    assert json.loads(body) == expected
    assert "Werkzeug" in headers["server"]
    assert "upstream;dur=" in headers["server-timing"]
    assert stack.request("GET", "/tunnel/flask")[2] == b"hello"


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ("/tunnel/raw/a%2Fb/%C3%A9/../c//d?x=%20&y=a+b&&z", "/a%2Fb/%C3%A9/../c//d?x=%20&y=a+b&&z"),
        ("/tunnel/raw", "/"),
        ("/tunnel/raw/", "/"),
        ("/tunnel/raw?q=1", "/?q=1"),
        ("/tunnel/raw//x", "//x"),
        ("/tunnel/raw/a?b=c/d?e", "/a?b=c/d?e"),
    ],
)
def test_the_target_arrives_byte_for_byte(client: TlsClient, upstream: Upstream, asked: str, seen: str) -> None:
    """Nothing is decoded, normalised or encoded anew on the way."""
    client.ask(f"GET {asked}")
    assert client.answer()[0] == 200
    assert upstream.requests[-1].target == seen


def test_what_the_server_learns_of_the_client(client: TlsClient, upstream: Upstream) -> None:
    """Who asked is said by the gateway and by nobody else; what is for neighbours, or for the gateway, stays."""
    client.ask(
        "GET /tunnel/raw/headers",
        *("Connection: keep-alive, X-Private", "X-Private: 1", "Keep-Alive: 5", "TE: gzip", "X-Custom: caf\xe9"),
        *("X-Forwarded-For: 6.6.6.6", "X_Forwarded_For: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-Request-Timeout: 20"),
        *("X-Upstream-Authorization: Basic abc", "Cookie: a=1", "Cookie: b=2"),
    )
    assert client.answer()[0] == 200
    request = upstream.requests[-1]
    names = {name for name, _ in request.fields}
    hidden = {"connection", "x-private", "keep-alive", "te", "x_forwarded_for", "x-request-timeout"}
    assert names.isdisjoint(hidden | {"x-upstream-authorization"})
    assert request.all("authorization") == ["Basic abc"]
    assert request.all("x-custom") == ["caf\xe9"]
    assert request.all("cookie") == ["a=1", "b=2"]
    assert request.all("x-forwarded-for") == ["127.0.0.1"]
    assert request.all("x-forwarded-proto") == ["https"]
    assert request.all("x-forwarded-host") == ["localhost"]
    assert request.all("x-forwarded-prefix") == ["/tunnel/raw"]
    assert request.all("forwarded") == ['for=127.0.0.1;host="localhost";proto=https']
    assert request.all("host") == [upstream.url.removeprefix("http://")]
    assert len(request.all("traceparent")) == len(request.all("x-request-id")) == 1


def test_a_whole_host_is_a_service(client: TlsClient, upstream: Upstream) -> None:
    """Every path of a host in tunnel.hosts goes to its service, paths of the gateway's own included, with its Host."""
    for path in ("/healthz", "/tunnel/flask/", "/"):
        client.ask(f"GET {path}", host=HOST)
        assert client.answer()[0] == 200
        assert upstream.requests[-1].target == path
        assert upstream.requests[-1].all("host") == [HOST]
        assert upstream.requests[-1].all("x-forwarded-prefix") == []


def test_events_arrive_one_by_one(client: TlsClient, upstream: Upstream) -> None:
    """Each server-sent event is with the client before the server sends the next."""
    seen = [Gate() for _ in range(5)]

    async def events(_request: Request, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number, gate in enumerate(seen):
            writer.write(b"9\r\ndata: %d\n\n\r\n" % number)
            await gate.passed()
        writer.write(b"0\r\n\r\n")

    upstream.on("/events", events)
    client.ask("GET /tunnel/raw/events")
    status, fields = client.head()
    assert (status, fields["content-type"]) == (200, "text/event-stream")
    for number, gate in enumerate(seen):
        assert client.chunk() == b"data: %d\n\n" % number
        gate.open()
    assert client.chunk() == b""


def test_a_head_does_not_wait_for_its_body(client: TlsClient, upstream: Upstream) -> None:
    """A stream that has nothing to say yet has begun all the same."""
    gate = Gate()

    async def silent(_request: Request, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await gate.passed()
        writer.write(b"0\r\n\r\n")

    upstream.on("/silent", silent)
    client.ask("GET /tunnel/raw/silent")
    assert client.head()[0] == 200
    gate.open()
    assert client.chunk() == b""


@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
def test_a_request_body_arrives_as_it_is_sent(client: TlsClient, upstream: Upstream, framing: str) -> None:
    """The server has the first half before the client sends the second, and sees the framing that the client chose."""
    half = Gate()
    first, second = (b"01234", b"56789") if "Length" in framing else (b"5\r\n01234\r\n", b"5\r\n56789\r\n0\r\n\r\n")

    async def upload(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert framing.lower() in request.head.decode().lower()
        await reader.readexactly(len(first))
        half.open()
        await reader.readexactly(len(second))
        writer.write(ok())

    upstream.on("/upload", upload)
    client.ask("POST /tunnel/raw/upload", framing, body=first)
    half.wait()
    client.send(second)
    assert client.answer()[0] == 200


def test_informational_answers_pass(client: TlsClient, upstream: Upstream) -> None:
    """103 Early Hints comes before the answer, with its fields; a client that expects 100 hears it from the server."""

    async def hints(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert request.all("expect") == ["100-continue"]
        writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await reader.readexactly(4) == b"body"
        writer.write(ok())

    upstream.on("/hints", hints)
    client.ask("POST /tunnel/raw/hints", "Expect: 100-continue", "Content-Length: 4")
    assert client.head() == (103, {"link": "</style.css>"})
    assert client.head() == (100, {})
    client.send(b"body")
    assert client.answer()[0] == 200


def test_trailers_follow_a_body(client: TlsClient, upstream: Upstream) -> None:
    """What a server sends behind a chunked body reaches the client behind it."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: checksum\r\n\r\n"
    upstream.on("/trailers", head + b"2\r\nhi\r\n0\r\nchecksum: 9b1c\r\n\r\n")
    client.ask("GET /tunnel/raw/trailers")
    assert client.head()[0] == 200
    assert client.chunk() == b"hi"
    assert client.chunk() == b""
    assert client.until(b"\r\n\r\n") == b"checksum: 9b1c\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "answer", "length"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", "1000"),
        ("HEAD", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", None),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 1000\r\n\r\n", "1000"),
    ],
)
def test_answers_without_a_body(
    client: TlsClient, upstream: Upstream, method: str, answer: bytes, length: str | None
) -> None:
    """HEAD, 204 and 304 end with their head, whatever length it speaks of, and the connection goes on."""
    upstream.on("/bodiless", answer)
    for _ in range(2):
        client.ask(f"{method} /tunnel/raw/bodiless")
        status, fields = client.head()
        assert (status, fields.get("content-length")) == (int(answer[9:12]), length)
        assert "transfer-encoding" not in fields


def test_a_client_that_leaves_ends_the_request_at_the_server(stack: Stack, upstream: Upstream) -> None:
    """The server's connection is closed while it still sends."""
    gone = Gate()

    async def endless(_request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        assert await reader.read() == b""
        gone.open()

    upstream.on("/endless", endless)
    with TlsClient(stack) as client:
        client.ask("GET /tunnel/raw/endless")
        client.head()
        assert client.chunk() == b"x"
    gone.wait()


@pytest.mark.parametrize("framing", [b"content-length: 1000", b"transfer-encoding: chunked"])
def test_an_answer_that_breaks_off_is_cut(client: TlsClient, upstream: Upstream, framing: bytes) -> None:
    """The client gets the part and then a broken connection, never an end."""

    async def breaks(_request: Request, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        piece = b"4\r\npart\r\n" if b"chunked" in framing else b"part"
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + piece)
        await writer.drain()
        writer.close()

    upstream.on("/breaks", breaks)
    client.ask("GET /tunnel/raw/breaks")
    assert client.head()[0] == 200
    assert not client.rest().endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: other\r\n\r\n",
    ],
)
def test_a_broken_answer_is_a_bad_gateway(client: TlsClient, upstream: Upstream, answer: bytes) -> None:
    """502, and a sentence that says whose fault it is."""
    upstream.on("/broken", answer)
    client.ask("GET /tunnel/raw/broken")
    status, _, body = client.answer()
    assert status == 502
    assert "the server's answer is broken" in json.loads(body)["detail"]


def test_a_server_that_hangs_is_a_time_out(client: TlsClient, upstream: Upstream) -> None:
    """504 when the answer's head does not come within X-Request-Timeout; the server's connection is closed."""
    gone = Gate()

    async def hang(_request: Request, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.open()

    upstream.on("/hang", hang)
    client.ask("GET /tunnel/raw/hang", "X-Request-Timeout: 0.3")
    assert client.answer()[0] == 504
    gone.wait()


def test_a_deadline_is_for_the_head_alone(client: TlsClient, upstream: Upstream) -> None:
    """A stream that began in time goes on when its deadline has passed."""
    gate = Gate()

    async def stream(_request: Request, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n")
        await gate.passed()
        await asyncio.sleep(1.0)
        writer.write(b"4\r\nlate\r\n0\r\n\r\n")

    upstream.on("/stream", stream)
    client.ask("GET /tunnel/raw/stream", "X-Request-Timeout: 0.9")
    assert client.head()[0] == 200
    assert client.chunk() == b"begun"
    gate.open()
    assert client.chunk() == b"late"
    assert client.chunk() == b""


def test_connections_are_kept_and_a_stale_one_costs_nobody_an_error(client: TlsClient, upstream: Upstream) -> None:
    """Requests share a connection; one that the server closes just then is made again on another."""
    before = upstream.connections
    for _ in range(5):
        client.ask("GET /tunnel/raw/kept")
        assert client.answer()[0] == 200
    assert upstream.connections <= before + 1

    async def leave(_request: Request, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream.on("/leave", ok())
        writer.close()

    upstream.on("/leave", leave)
    client.ask("GET /tunnel/raw/leave")
    assert client.answer()[0] == 200


def test_a_post_is_never_made_twice(client: TlsClient, upstream: Upstream) -> None:
    """A server that closes its connection in the middle of a POST has perhaps done it: the client is told, 502."""

    async def leave(request: Request, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    upstream.on("/once", leave)
    client.ask("GET /tunnel/raw/")
    client.answer()
    client.ask("POST /tunnel/raw/once", "Content-Length: 0")
    assert client.answer()[0] == 502
    assert [request.target for request in upstream.requests].count("/once") == 1


def test_a_token_is_for_a_service(stack: Stack) -> None:
    """Without a token 401, with one for another service 403, for a service that nobody has 404."""
    other = stack.directory / "other.token"
    stack.credentials.issue(other, "someone", "infer:flask")
    for token, path, expected in [
        ("", "/tunnel/raw/", 401),
        (other.read_text().strip(), "/tunnel/raw/", 403),
        (other.read_text().strip(), "/tunnel/flask/", 200),
        (None, "/tunnel/nobody/", 404),
    ]:
        with TlsClient(stack, token) as client:
            client.ask(f"GET {path}")
            assert client.answer()[0] == expected


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever had (VmHWM)."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


BIG = 100 << 20


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_body_of_100_mb_takes_little_memory(stack: Stack, client: TlsClient, upstream: Upstream, way: str) -> None:
    """Neither process grows by 64 MB, though the other end is slow to begin."""
    piece = bytes(range(256)) * 4096
    count = BIG // len(piece)

    async def download(_request: Request, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % BIG)
        for _ in range(count):
            writer.write(piece)
            await writer.drain()

    async def upload(_request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left, digest = BIG, hashlib.sha256()
        await asyncio.sleep(0.5)
        while left:
            data = await reader.read(1 << 20)
            left -= len(data)
            digest.update(data)
        writer.write(ok(digest.hexdigest().encode()))

    upstream.on("/up", upload)
    upstream.on("/down", download)
    pids = [stack.gateway.popen.pid, stack.workers["worker-1"].popen.pid]
    client.ask("GET /tunnel/raw/")
    client.answer()
    before = [peak_bytes(pid) for pid in pids]
    expected = hashlib.sha256(piece * count).hexdigest()
    if way == "up":
        client.ask("POST /tunnel/raw/up", f"Content-Length: {BIG}")
        for _ in range(count):
            client.send(piece)
        assert client.answer()[2] == expected.encode()
    else:
        client.ask("GET /tunnel/raw/down")
        assert client.head()[0] == 200
        digest = hashlib.sha256()
        for _ in range(count):
            digest.update(client.exactly(len(piece)))
        assert digest.hexdigest() == expected
    growth = [peak_bytes(pid) - was for pid, was in zip(pids, before, strict=True)]
    assert max(growth) < 64 << 20, growth


def test_a_server_that_is_down_and_comes_back(stack: Stack, wait_until: WaitUntil) -> None:
    """503 with Retry-After while nothing listens; the operator's view says why; when it is back, so is the service."""
    with Upstream() as server:
        port = server.port
        stack.start_worker("worker-2", "--backend", "http", "--upstream", f"other={server.url}")
        stack.wait_ready("other", 1)
    try:
        status, headers, _ = stack.request("GET", "/tunnel/other/")
        assert (status, headers["Retry-After"].isdigit()) == (503, True)
        wait_until(lambda: "is the server running?" in str(stack.workers_view()), "the reason is shown")
        with Upstream(port):
            stack.wait_ready("other", 1)
            assert stack.request("GET", "/tunnel/other/")[0] == 200
    finally:
        stack.workers.pop("worker-2").kill()


def test_workers_share_a_service(stack: Stack) -> None:
    """Requests spread over the workers of one service; when the server of one is gone, nobody notices."""
    with Upstream() as one, Upstream() as two:
        gate = Gate()

        async def slow(_request: Request, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await gate.passed()
            writer.write(ok())

        for server in (one, two):
            server.on("/slow", slow)
        stack.start_worker("worker-2", "--backend", "http", "--upstream", f"shared={one.url}")
        stack.start_worker("worker-3", "--backend", "http", "--upstream", f"shared={two.url}")
        try:
            stack.wait_ready("shared", 2)
            with ThreadPoolExecutor(8) as threads:
                asked = [threads.submit(stack.request, "GET", "/tunnel/shared/slow") for _ in range(8)]
                while len(one.requests) + len(two.requests) < 8:
                    threading.Event().wait(0.01)
                gate.open()
                assert {future.result()[0] for future in asked} == {200}
            assert one.requests
            assert two.requests
            two.stop_listening()
            assert {stack.request("GET", "/tunnel/shared/")[0] for _ in range(10)} == {200}
        finally:
            stack.workers.pop("worker-2").kill()
            stack.workers.pop("worker-3").kill()


def test_a_drain_waits_for_streams(stack: Stack, client: TlsClient) -> None:
    """A worker that is told to leave lets an open stream end, and leaves with status 0."""
    gate = Gate()

    async def stream(_request: Request, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await gate.passed()
        writer.write(b"4\r\nlast\r\n0\r\n\r\n")

    with Upstream() as server:
        server.on("/stream", stream)
        worker = stack.start_worker("worker-2", "--backend", "http", "--upstream", f"leaving={server.url}")
        stack.wait_ready("leaving", 1)
        client.ask("GET /tunnel/leaving/stream")
        assert client.head()[0] == 200
        assert client.chunk() == b"first"
        worker.begin_stop()
        worker.wait_event("draining")
        gate.open()
        assert client.chunk() == b"last"
        assert client.chunk() == b""
        assert worker.wait() == 0
        del stack.workers["worker-2"]
