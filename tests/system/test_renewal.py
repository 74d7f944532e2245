"""Keys, certificates, revocations and tokens change under a running gateway, and no tunnel ends but those that must."""

from __future__ import annotations

import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.stack import Credentials, Process, Stack
from gateway.keys import KeyDirectory
from tests.support.certificates import made
from tests.support.scrape import count
from tests.support.tokens import replace, token

NewStack = Callable[[str], Stack]
WaitUntil = Callable[..., float]
ECHO = ("--backend", "echo")
SHORT_S = 6
"""A short token's life: a worker looks at its file each second, and a busy machine makes that several."""


@pytest.fixture
def stack(new_stack: NewStack, credentials: Credentials, tmp_path: Path) -> Iterator[Stack]:
    """A gateway whose keys, tokens and certificates are the test's own, and who does not wait long for a late token."""
    shutil.copytree(credentials.directory, tmp_path / "credentials")
    stack = new_stack("renewal")
    stack.credentials = Credentials(tmp_path / "credentials")
    stack.start_gateway(AUTH__LEEWAY_S=0, AUTH__TOKEN_GRACE_S=1)
    yield stack
    stack.stop()


def session_of(stack: Stack, worker: str) -> Any:
    """The id of a worker's tunnel, which a new one would not have; None while there is none."""
    return next((view["about"]["session"] for view in stack.workers_view() if view["worker"] == worker), None)


def post(stack: Stack, token: Path | None = None) -> int:
    """The status of a small request, with another token than the client's if one is given."""
    headers = {"Content-Type": "image/png"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token.read_text().strip()}"
    return stack.request("POST", "/inference/echo", b"picture", headers)[0]


def reasons(worker: Process) -> list[tuple[str, str]]:
    """How a worker's tunnels ended, in order."""
    return [(line["code"], line["reason"]) for line in worker.events("disconnected")]


def served_certificate(stack: Stack) -> dict[str, Any]:
    """The certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=stack.credentials.ca)
    with (
        socket.create_connection(("localhost", stack.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        certificate: dict[str, Any] = connection.getpeercert() or {}
        return certificate


def test_certificates_replaced_on_disk(stack: Stack, wait_until: WaitUntil) -> None:
    """New connections get the new certificate, half of a change is never shown, and the tunnel goes on."""
    worker = stack.start_worker("worker-1", *ECHO)
    stack.wait_ready("echo", 1)
    session, before = session_of(stack, "worker-1"), served_certificate(stack)
    broken = stack.credentials.private_key.read_bytes()
    stack.credentials.private_key.write_bytes(b"half a key")
    wait_until(lambda: stack.gateway.events("certificates_not_reloaded"), "the broken key is reported")
    assert served_certificate(stack) == before
    stack.credentials.private_key.write_bytes(broken)
    made(stack.credentials.directory, "gateway.example")
    wait_until(lambda: ("DNS", "gateway.example") in served_certificate(stack)["subjectAltName"], "the new one")
    assert post(stack) == 200
    assert session_of(stack, "worker-1") == session
    assert len(worker.events("connected")) == 1


def test_keys_rotated_and_retired(stack: Stack, wait_until: WaitUntil) -> None:
    """Tokens of a new key are taken and those of the old one still are; once that is retired its bearers are out."""
    files = stack.credentials
    old_key = KeyDirectory(files.keys).signing_key().kid
    kept, left = stack.start_worker("worker-1", *ECHO), stack.start_worker("worker-2", *ECHO)
    stack.wait_ready("echo", 2)
    session = session_of(stack, "worker-1")
    files.gateway("keys", "rotate")
    newer = files.directory / "newer.token"
    files.issue(newer, "newer", "infer:*")
    wait_until(lambda: post(stack, newer) == 200, "a token of the new key is taken")
    assert post(stack) == 200
    files.issue(files.worker_token("worker-1"), "worker-1", "worker:worker-1")
    wait_until(lambda: kept.events("token renewed"), "worker-1 renews its token in-band")
    files.gateway("keys", "retire", old_key)
    wait_until(lambda: reasons(left), "worker-2, with a token of the old key, is out")
    assert [code for code, _ in reasons(left)] == ["unauthorized"]
    assert post(stack) == 401
    assert post(stack, newer) == 200
    assert session_of(stack, "worker-1") == session
    assert reasons(kept) == []


def test_a_revoked_client_and_a_revoked_worker(stack: Stack, wait_until: WaitUntil) -> None:
    """A revoked token is refused once the list was read again, a worker with one is out, and others stay."""
    files = stack.credentials
    kept, out = stack.start_worker("worker-1", *ECHO), stack.start_worker("worker-2", *ECHO)
    stack.wait_ready("echo", 2)
    session = session_of(stack, "worker-1")
    revoked = files.directory / "revoked.token"
    files.issue(revoked, "soon-revoked", "infer:*")
    assert post(stack, revoked) == 200
    files.gateway("token", "revoke", str(revoked))
    files.gateway("token", "revoke", str(files.worker_token("worker-2")))
    wait_until(lambda: post(stack, revoked) == 401, "the client's token is refused", timeout_s=15)
    wait_until(lambda: reasons(out), "the worker is out", timeout_s=15)
    assert reasons(out) == [("unauthorized", "the token was revoked: get a new one")]
    assert count(stack, 'gateway_tokens_refused_total{reason="revoked"}') >= 1
    assert count(stack, 'gateway_tunnels_ended_total{code="unauthorized"}') == 1
    assert post(stack) == 200
    assert session_of(stack, "worker-1") == session
    assert reasons(kept) == []


def test_a_token_renewed_in_band_and_one_forgotten(stack: Stack, wait_until: WaitUntil) -> None:
    """Whoever's token file is replaced in time keeps its tunnel over the end of the old token; whoever's is not is out
    after the grace, and back as soon as there is a new token."""
    files = stack.credentials
    workers = {name: stack.start_worker(name, *ECHO) for name in ("worker-1", "worker-2")}
    kept, forgotten = workers.values()
    stack.wait_ready("echo", 2)
    sessions = {name: session_of(stack, name) for name in workers}
    for name in workers:
        replace(files.worker_token(name), token(files, scope=f"worker:{name}", exp=int(time.time()) + SHORT_S))
    for worker in workers.values():
        wait_until(lambda worker=worker: worker.events("token renewed"), "the short token is taken")
        assert worker.events("the token expires soon")
    assert {name: session_of(stack, name) for name in workers} == sessions
    replace(files.worker_token("worker-1"), token(files, scope="worker:worker-1"))
    wait_until(lambda: reasons(forgotten), "the forgotten one is out")
    assert reasons(forgotten) == [("unauthorized", "the token expired and was not renewed")]
    assert len(kept.events("token renewed")) == 2
    assert reasons(kept) == []
    assert session_of(stack, "worker-1") == sessions["worker-1"]
    files.issue(files.worker_token("worker-2"), "worker-2", "worker:worker-2")
    stack.wait_ready("echo", 2)
    assert session_of(stack, "worker-2") != sessions["worker-2"]


def test_a_token_file_that_is_replaced_by_nonsense(stack: Stack, wait_until: WaitUntil) -> None:
    """A new token that is refused changes nothing: it is logged and counted, and the one in force goes on."""
    files = stack.credentials
    worker = stack.start_worker("worker-1", *ECHO)
    stack.wait_ready("echo", 1)
    session = session_of(stack, "worker-1")
    files.worker_token("worker-1").write_text("nonsense")
    refused = 'gateway_tokens_refused_total{reason="malformed"}'
    wait_until(lambda: count(stack, refused) == 1, "the refusal is counted")
    files.issue(files.worker_token("worker-1"), "worker-1", "worker:another")
    wait_until(lambda: len(stack.gateway.events("worker token refused")) == 2, "that of another name too")
    assert post(stack) == 200
    assert session_of(stack, "worker-1") == session
    assert reasons(worker) == []


def test_workers_with_and_without_a_client_certificate(
    new_stack: NewStack, credentials: Credentials, tmp_path: Path, wait_until: WaitUntil
) -> None:
    """Where workers must show a certificate: with its own one is in, with none or another's one is told so; clients
    need none."""
    shutil.copytree(credentials.directory, tmp_path / "credentials")
    stack = new_stack("mutual")
    stack.credentials = files = Credentials(tmp_path / "credentials")
    made(files.directory, "--client", "worker-1")
    stack.start_gateway(TLS__WORKER_CA=files.ca)
    pair = files.directory / "client-worker-1"
    show = ("--certificate-file", f"{pair}.pem", "--key-file", f"{pair}.key")
    stack.start_worker("worker-1", *ECHO, *show)
    bare, borrower = stack.start_worker("worker-2", *ECHO), stack.start_worker("worker-3", *ECHO, *show)
    stack.wait_ready("echo", 1)
    wait_until(lambda: reasons(bare) and reasons(borrower), "the others are told")
    assert reasons(bare)[0][0] == reasons(borrower)[0][0] == "unauthorized"
    assert "wants workers to show a client certificate" in reasons(bare)[0][1]
    assert "worker-3" in reasons(borrower)[0][1]
    assert post(stack) == 200
    view = {view["worker"]: view for view in stack.workers_view()}
    assert list(view) == ["worker-1"]
    assert view["worker-1"]["about"]["certificate_names"] == ["worker-1"]
