"""A gateway and workers as processes of this machine: credentials, start, readiness, stop.

Also what the system tests start. Everything lies in one directory; nothing outlives `stop`. Uses the command lines that
a person would, so whatever works here works by hand.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
READY_TIMEOUT_S = 60.0
"""Seconds for a process to say that it is ready: loading a model on a busy machine can take several."""
FRESH_S = 7 * 86_400.0
"""Age in seconds at which a token of an earlier start is made anew."""
STOP_TIMEOUT_S = 15.0
"""Seconds that a process has to leave after SIGTERM before it is killed."""


class StackError(Exception):
    """Something did not start; the text has the end of its log."""


class Credentials:
    """A development CA, a signing key, and tokens, made once and kept in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = directory / "ca.pem"
        self.certificate = directory / "server.pem"
        self.private_key = directory / "server.key"
        self.keys = directory / "keys"
        self.client_token = directory / "client.token"

    def make(self) -> None:
        """Makes what is not there yet. Raises StackError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        _run(["bash", str(REPOSITORY / "certs" / "make.sh"), "--out", str(self.directory)])
        if not (self.keys / "jwks.json").exists():
            self.gateway("keys", "init")
        if not _is_fresh(self.client_token):
            self.issue(self.client_token, "client", "infer:*")

    def issue(self, file: Path, subject: str, *scopes: str, expires: str = "30d") -> None:
        """Writes a token."""
        options = [option for scope in scopes for option in ("--scope", scope)]
        self.gateway("token", "issue", "--subject", subject, *options, "--expires", expires, "--out", str(file))

    def worker_token(self, name: str) -> Path:
        """A token for a worker of this name, made when there is none that will do."""
        file = self.directory / f"{name}.token"
        if not _is_fresh(file):
            self.issue(file, name, f"worker:{name}")
        return file

    def gateway(self, *arguments: str) -> str:
        """Runs `gateway keys` or `gateway token` on these keys; what it printed."""
        return _run([sys.executable, "-m", "gateway", *arguments, "--keys", str(self.keys)])


class Process:
    """One child, in a process group of its own, with its output in a file."""

    def __init__(
        self, name: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str], via: Sequence[str] = ()
    ) -> None:
        """`via` is a command that runs another one, as `ip netns exec NAME` does."""
        self.name = name
        self.log = log
        self.is_stopping = False
        """Whether it was asked to leave."""
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                [*via, sys.executable, "-m", *arguments],
                cwd=REPOSITORY,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C reaches us alone: we stop the others, in order
            )

    @property
    def is_running(self) -> bool:
        """Whether it lives."""
        return self.popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal; harmless when it is gone."""
        if self.is_running:
            self.popen.send_signal(number)

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Its exit status. Raises subprocess.TimeoutExpired."""
        return self.popen.wait(timeout_s)

    def stop(self) -> int:
        """SIGTERM, if it has had none (a second one would cut it off), then SIGKILL for one that stays; the status."""
        self.begin_stop()
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            return self.wait()

    def begin_stop(self) -> None:
        """Asks it to leave and does not wait."""
        if not self.is_stopping:
            self.is_stopping = True
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and its end; harmless when it is gone."""
        if self.is_running:
            self.popen.kill()
        self.popen.wait()

    def output(self) -> str:
        """All that it wrote so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def events(self, name: str) -> list[dict[str, Any]]:  # Any: JSON
        """Its log lines about one event, so far. A line that is half written, or no JSON, is left out."""
        found = []
        for text in self.output().splitlines():
            with contextlib.suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict) and line.get("event") == name:
                    found.append(line)
        return found

    def wait_event(self, name: str, timeout_s: float = READY_TIMEOUT_S) -> dict[str, Any]:  # Any: JSON
        """Waits for the first line about an event. Raises StackError when it ends or takes too long."""
        deadline = time.monotonic() + timeout_s
        while True:
            is_over = not self.is_running or time.monotonic() > deadline  # looked at first: it writes, then ends
            if found := self.events(name):
                return found[0]
            if is_over:
                why = "took too long" if self.is_running else f"ended with status {self.popen.returncode}"
                raise StackError(f"{self.name} {why}; the end of {self.log}:\n{self.output()[-2000:]}")
            time.sleep(0.02)


class Stack:
    """One gateway and its workers. Use as a context manager."""

    def __init__(self, directory: Path) -> None:
        self.credentials = Credentials(directory)
        self.directory = directory
        self.port = 0
        self.admin_port = 0
        self.gateway: Process
        self.workers: dict[str, Process] = {}
        """By name; one that is taken out is no longer waited for."""
        self._started: list[Process] = []
        """All, also those whose place another one has taken."""

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where clients and workers connect."""
        return f"https://localhost:{self.port}"

    def start_gateway(self, port: int = 0, config: Path | None = None, **settings: object) -> None:
        """Starts the gateway. `settings` are SECTION__NAME=value, as in the environment; None leaves ours out. They
        beat what is in the file `config`."""
        files = self.credentials
        environment = {
            "LISTEN__HOST": "127.0.0.1",
            "LISTEN__PORT": port,
            "ADMIN__PORT": 0,
            "TLS__CERTIFICATE": files.certificate,
            "TLS__PRIVATE_KEY": files.private_key,
            "AUTH__JWKS": files.keys / "jwks.json",
            "AUTH__REVOCATIONS": files.keys / "revoked.txt",
            "LOG__FORMAT": "json",
            **settings,
        }
        log = self._log("gateway")
        variables = {f"GATEWAY_{name}": str(value) for name, value in environment.items() if value is not None}
        with_file = [] if config is None else ["--config", str(config)]
        with _held_signals():
            self.gateway = Process("gateway", ["gateway", "serve", *with_file], log, variables)
            self._started.append(self.gateway)
        line = self.gateway.wait_event("serving")
        self.port, self.admin_port = line["port"], line["admin_port"]

    def start_worker(
        self, name: str, *options: str, gateway: str | None = None, via: Sequence[str] = (), **environment: str
    ) -> Process:
        """Starts a worker; does not wait for it. `gateway` is the address to dial where it is not this stack's."""
        files = self.credentials
        arguments = ["edge_worker", "connect", "--gateway", gateway or f"wss://localhost:{self.port}", "--name", name]
        arguments += ["--token-file", str(files.worker_token(name)), "--ca-file", str(files.ca)]
        log = self._log(name)
        with _held_signals():
            process = Process(name, [*arguments, "--log-format", "json", *options], log, environment, via)
            self._started.append(process)
        self.workers[name] = process
        return process

    def wait_ready(self, model: str, workers: int, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Waits until so many workers are ready for the model. Raises StackError."""
        deadline = time.monotonic() + timeout_s
        while (ready := self.ready_workers(model)) < workers:
            ended = [process for process in [self.gateway, *self.workers.values()] if not process.is_running]
            if ended or time.monotonic() > deadline:
                logs = "\n".join(f"--- {process.log}\n{process.output()[-2000:]}" for process in ended)
                raise StackError(f"{ready} of {workers} workers are ready for {model}\n{logs}")
            time.sleep(0.02)

    def ready_workers(self, model: str) -> int:
        """How many workers are ready for the model now."""
        _, _, body = self.request("GET", "/readyz")
        return int(json.loads(body)["models"].get(model, 0))

    def workers_view(self) -> list[dict[str, Any]]:  # Any: JSON
        """The operator's view of every worker."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=60)
        try:
            connection.request("GET", "/workers")
            view: list[dict[str, Any]] = json.load(connection.getresponse())["workers"]
            return view
        finally:
            connection.close()

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One verified HTTPS request with the client's token: status, headers, body."""
        context = ssl.create_default_context(cafile=self.credentials.ca)
        connection = http.client.HTTPSConnection("localhost", self.port, context=context, timeout=60)
        token = self.credentials.client_token.read_text().strip()
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {token}", **(headers or {})})
            response = connection.getresponse()
            return response.status, dict(response.headers), response.read()
        finally:
            connection.close()

    def stop(self) -> None:
        """Stops the workers and the gateway. A second Ctrl-C meanwhile leaves nothing running either."""
        processes = [*self.workers.values(), *([self.gateway] if hasattr(self, "gateway") else [])]
        try:
            for process in processes:
                process.begin_stop()
            for process in processes:
                process.stop()
        finally:
            with _held_signals():
                for process in self._started:
                    process.kill()

    def _log(self, name: str) -> Path:
        log = self.directory / f"{name}.log"
        log.unlink(missing_ok=True)
        return log


def _is_fresh(token: Path) -> bool:
    """Whether a token file is there and young: `issue` makes them for 30 days."""
    return token.exists() and time.time() - token.stat().st_mtime < FRESH_S


def port_is_free(port: int) -> bool:
    """Whether this machine's loopback can listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def _held_signals() -> Iterator[None]:
    """Delays what would interrupt us: no process is started without a name to stop it by. Blocking the signals would be
    shorter, but a child begins with the signals blocked that its parent has."""
    if threading.current_thread() is not threading.main_thread():  # signals do not reach others
        yield
        return
    held: list[int] = []

    def hold(number: int, _frame: FrameType | None) -> None:
        held.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [(number, signal.signal(number, hold)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
        for interrupt in held:
            signal.raise_signal(signal.Signals(interrupt))


def _run(command: Sequence[str]) -> str:
    """What it printed. Raises StackError. Ctrl-C reaches us alone, and ends it with all that it started: that it failed
    would hide why."""
    process: subprocess.Popen[str] | None = None
    try:
        with _held_signals():
            process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        output, errors = process.communicate()
    except BaseException:
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        raise
    if process.returncode:
        raise StackError(f"{' '.join(command)} failed:\n{output}{errors}")
    return output
