"""What the two command lines say and do when something is wrong: before they begin, and when the other side is not as
it should be."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from demo.stack import REPOSITORY, Credentials, Process, Stack

PATIENCE_S = 60.0
WaitUntil = Callable[..., float]
ECHO = ("--backend", "echo")


class Ended(NamedTuple):
    """A command that came to its end."""

    status: int
    lines: list[str]
    """Of its standard error."""


def run(arguments: Sequence[str], **variables: object) -> Ended:
    """Runs a module's command line with these variables beside the environment's."""
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    result = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert result.stdout == ""
    return Ended(result.returncode, result.stderr.splitlines())


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port of this machine that is taken, and would take a connection."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.setblocking(False)
        yield taken


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def files(credentials: Credentials) -> dict[str, object]:
    """The variables of a gateway that can start, on any port."""
    return {
        "GATEWAY_LISTEN__HOST": "127.0.0.1",
        "GATEWAY_LISTEN__PORT": 0,
        "GATEWAY_ADMIN__PORT": 0,
        "GATEWAY_TLS__CERTIFICATE": credentials.certificate,
        "GATEWAY_TLS__PRIVATE_KEY": credentials.private_key,
        "GATEWAY_AUTH__JWKS": credentials.keys / "jwks.json",
    }


# --- the gateway, before it begins ------------------------------------------------------------------------------------


def test_a_gateway_names_every_mistake(credentials: Credentials, listener: socket.socket, tmp_path: Path) -> None:
    """Each line has the field, the value, where it came from and what is allowed. The port that it was to open is
    taken, and it did not come so far as to notice."""
    file = tmp_path / "gateway.toml"
    file.write_text('[dispatch]\npolicy = "best"\n[limits]\nmax_prats = 5\n')
    ended = run(
        ["gateway", "serve", "--config", str(file), "--set", "limits.max_parts=0"],
        **{**files(credentials), "GATEWAY_LISTEN__PORT": port_of(listener), "GATEWAY_DRAIN__GRACE_S": "soon"},
    )
    assert ended.status == 2
    text = "\n".join(ended.lines)
    assert len(ended.lines) == 4, text
    assert "limits.max_prats: there is no such setting; [limits] has max_body_bytes, max_multipart_bytes" in text
    assert f"({file})" in text
    assert "limits.max_parts = '0': Input should be greater than or equal to 1 (command line)" in text
    assert "dispatch.policy = 'best': must be one of least_conn, least_loaded, pin" in text
    assert "drain.grace_s = 'soon': " in text
    assert "(GATEWAY_DRAIN__GRACE_S)" in text


@pytest.mark.parametrize(
    ("field", "variable", "advice"),
    [
        ("tls.certificate", "GATEWAY_TLS__CERTIFICATE", ""),
        ("tls.private_key", "GATEWAY_TLS__PRIVATE_KEY", ""),
        ("auth.jwks", "GATEWAY_AUTH__JWKS", "; `gateway keys init` makes keys, and this file"),
    ],
)
def test_a_gateway_names_a_file_that_is_missing(
    credentials: Credentials, listener: socket.socket, field: str, variable: str, advice: str
) -> None:
    """Files are read before a port is opened: the port is taken, and the status is that of the configuration."""
    ended = run(
        ["gateway", "serve"],
        **{**files(credentials), "GATEWAY_LISTEN__PORT": port_of(listener), variable: "/nowhere/file"},
    )
    assert ended == Ended(2, [f"gateway: {field}: /nowhere/file: no such file or directory{advice}"])


@pytest.mark.parametrize("section", ["listen", "admin"])
def test_a_gateway_names_a_port_in_use(credentials: Credentials, listener: socket.socket, section: str) -> None:
    """The setting, its value and the system's reason; status 1, since the configuration itself is right."""
    port = port_of(listener)
    ended = run(["gateway", "serve"], **{**files(credentials), f"GATEWAY_{section.upper()}__PORT": port})
    assert ended.status == 1
    assert ended.lines[-1].startswith(f"gateway: {section}.host = 127.0.0.1, {section}.port = {port}: ")
    assert "already in use" in ended.lines[-1]


# --- the worker, before it begins -------------------------------------------------------------------------------------


def test_a_worker_names_every_mistake(credentials: Credentials, listener: socket.socket) -> None:
    """Each line has the flag or variable, the value and what is allowed; nothing was dialled."""
    gateway = f"wss://localhost:{port_of(listener)}"
    ended = run(
        ["edge_worker", "connect", "--gateway", gateway, "--backend", "abacus", "--name", "a b"],
        TOKEN_FILE="/nowhere/token",
        SLOTS="many",
    )
    assert ended.status == 2
    assert ended.lines == [
        "edge-worker: --name = 'a b': must be 1 to 128 visible ASCII characters without a slash",
        "edge-worker: TOKEN_FILE = '/nowhere/token': is not a file",
        "edge-worker: --backend = 'abacus': must be one of opencv_dnn, tensorflow, echo, http",
        "edge-worker: SLOTS = 'many': must be a whole number from 1 to 64",
    ]
    assert_not_dialled(listener)


@pytest.mark.parametrize("gateway", ["ws://localhost:{port}", "http://localhost:{port}"])
def test_a_worker_refuses_a_tunnel_without_tls(listener: socket.socket, gateway: str) -> None:
    """A plain address is a mistake, not a choice."""
    address = gateway.format(port=port_of(listener))
    ended = run(["edge_worker", "connect", "--gateway", address], TOKEN="x")
    problem = "must begin with wss:// or https://; a tunnel is never unencrypted"
    assert ended == Ended(2, [f"edge-worker: --gateway = {address!r}: {problem}"])
    assert_not_dialled(listener)


def test_a_worker_without_a_token(listener: socket.socket) -> None:
    """The three ways to give one are named."""
    ended = run(["edge_worker", "connect", "--gateway", f"wss://localhost:{port_of(listener)}"])
    options = "give --token-file FILE, TOKEN_FILE, or the token itself in TOKEN"
    assert ended == Ended(2, [f"edge-worker: token-file: is missing; {options}"])
    assert_not_dialled(listener)


def test_a_worker_names_a_file_that_is_no_certificate(credentials: Credentials, listener: socket.socket) -> None:
    """A CA file and a client certificate that cannot be used are named before anything is dialled."""
    arguments = ["edge_worker", "connect", "--gateway", f"wss://localhost:{port_of(listener)}", *ECHO]
    wrong = credentials.client_token
    ended = run([*arguments, "--ca-file", str(wrong)], TOKEN="x")
    assert ended.status == 2
    assert ended.lines[0].startswith(f"edge-worker: ca-file = {wrong}: must be certificates in PEM: ")
    ended = run([*arguments, "--certificate-file", str(wrong)], TOKEN="x")
    assert ended.status == 2
    assert ended.lines[0].startswith(f"edge-worker: certificate-file = {wrong}, key-file = {wrong}: must be ")
    assert_not_dialled(listener)


def assert_not_dialled(listener: socket.socket) -> None:
    """Nobody connected: the kernel would have accepted it."""
    with pytest.raises(BlockingIOError):
        listener.accept()


# --- the worker, when the gateway is not as it should be --------------------------------------------------------------


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[str], Stack]) -> Stack:
    """A gateway whose certificate is for localhost and 127.0.0.1."""
    stack = new_stack("command-lines")
    stack.start_gateway()
    return stack


@pytest.fixture
def start(stack: Stack) -> Iterator[Callable[..., Process]]:
    """Starts workers, and expects of each that it lives until the test is over."""
    workers: list[Process] = []

    def make(*options: str, gateway: str | None = None) -> Process:
        workers.append(stack.start_worker("worker-1", *ECHO, *options, gateway=gateway))
        return workers[-1]

    yield make
    for process in workers:
        assert process.is_running, process.output()
        assert process.stop() == 0, process.output()


def reason(worker: Process) -> tuple[str, float]:
    """Why it could not connect, as its log says, and in how many seconds it tries again."""
    line = worker.wait_event("not connected")
    return line["reason"], line["retry_s"]


REFUSED_S = 30.0
"""Least time between two attempts where a person has to change something first."""


def test_a_wrong_authority(start: Callable[..., Process], tmp_path: Path) -> None:
    """The certificate does not verify: the log asks whether the CA file is right, and the worker tries again later."""
    other = Credentials(tmp_path)
    subprocess.run(["bash", "certs/make.sh", "--out", str(tmp_path)], cwd=REPOSITORY, check=True, capture_output=True)
    text, retry_s = reason(start("--ca-file", str(other.ca)))
    assert "certificate does not verify" in text
    assert text.endswith("is --ca-file the right one?")
    assert retry_s >= REFUSED_S


def test_a_wrong_server_name(start: Callable[..., Process], stack: Stack) -> None:
    """A certificate that is for another name is named so. 127.1 is this machine, under a name that nobody signed."""
    text, retry_s = reason(start(gateway=f"wss://127.1:{stack.port}"))
    assert "not valid for '127.1'; is the address one of its names?" in text
    assert retry_s >= REFUSED_S


def test_a_wrong_address(start: Callable[..., Process], stack: Stack) -> None:
    """A path that is no tunnel, and the operator's port, are no gateway for a worker."""
    text, retry_s = reason(start(gateway=f"wss://localhost:{stack.port}/elsewhere"))
    assert text.startswith("the gateway answered 404: there is nothing at '/elsewhere'")
    assert retry_s >= REFUSED_S
    text, _ = reason(start(gateway=f"wss://localhost:{stack.admin_port}"))
    assert text.startswith("no TLS with the other side: ")
    assert text.endswith("; is it a gateway's public port?")


def test_a_token_for_something_else(start: Callable[..., Process], stack: Stack) -> None:
    """A client's token has no worker scope: the gateway says how to issue one, the log repeats it."""
    text, retry_s = reason(start("--token-file", str(stack.credentials.client_token)))
    assert text == "the gateway answered 403: this token has no worker scope; issue one with --scope worker:NAME"
    assert retry_s >= REFUSED_S


def test_a_token_for_another_worker(start: Callable[..., Process], stack: Stack) -> None:
    """The name is checked when the worker introduces itself; the tunnel ends with the reason."""
    worker = start("--token-file", str(stack.credentials.worker_token("worker-2")))
    line = worker.wait_event("disconnected")
    assert line["code"] == "unauthorized"
    assert "worker-1" in line["reason"]
    assert line["retry_s"] >= REFUSED_S


def test_a_token_that_becomes_right(
    start: Callable[..., Process], stack: Stack, tmp_path: Path, wait_until: WaitUntil
) -> None:
    """A token file that is replaced is used at once: a worker that was refused does not wait for its next attempt."""
    file = tmp_path / "token"
    file.write_bytes(stack.credentials.client_token.read_bytes())
    worker = start("--token-file", str(file))
    assert reason(worker)[1] >= REFUSED_S
    new = tmp_path / "new"
    new.write_bytes(stack.credentials.worker_token("worker-1").read_bytes())
    new.replace(file)
    worker.wait_event("connected", timeout_s=REFUSED_S)
    wait_until(lambda: stack.ready_workers("echo") == 1, "the worker is ready")


def test_a_gateway_that_comes_later(
    new_stack: Callable[[str], Stack], start: Callable[..., Process], wait_until: WaitUntil
) -> None:
    """While nobody listens the worker tries again and again, each time after a random wait; then it connects."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = port_of(probe)
    worker = start(gateway=f"wss://localhost:{port}")
    wait_until(lambda: len(worker.events("not connected")) >= 3, "three attempts")
    failures = worker.events("not connected")[:3]
    assert all(line["reason"].startswith("no connection: ") for line in failures)
    assert all(line["retry_s"] <= 0.5 * 2**number for number, line in enumerate(failures))
    later = new_stack("later")
    later.start_gateway(port)
    worker.wait_event("connected")
    wait_until(lambda: later.ready_workers("echo") == 1, "the worker is ready")
