"""What is measured, as processes: the local loop, a gateway with its workers, and servers of others' making.

Each is started within a block and gone after it, and becomes a `turns.System`. A system is held to cores by starting it
from a thread that is: children inherit that.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.engines.connection import Connection
from bench.engines.turns import Rate, System
from bench.engines.window import turned, watched
from bench.errors import BenchError
from bench.peers.accounts import Accounts, Parts
from bench.peers.closed_loop import Address
from bench.peers.program import running
from bench.peers.system import free_port
from demo.stack import REPOSITORY, Stack, StackError

READY_S = 180.0
"""Until a worker is ready: an engine that warms up each size of batch takes its time on a busy machine."""
BOUNDARY = "edge-bench"
WORKER = "worker"
"""The part that computes, in every system."""


@dataclass(frozen=True)
class Engine:
    """What computes, the same for every system."""

    model: str
    model_dirs: Sequence[Path]
    slots: int
    threads: int
    """Of one inference."""

    def options(self) -> list[str]:
        """For a worker, or for a program around the bare engine."""
        folders = [word for folder in self.model_dirs for word in ("--model-dir", str(folder.resolve()))]
        return [*folders, "--slots", str(self.slots), "--threads", str(self.threads)]


@contextlib.contextmanager
def held_to(cores: Collection[int] | None) -> Iterator[None]:
    """This thread, and what it starts meanwhile; None: wherever it was."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before if cores is None else cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def local_loop(engine: Engine, cores: Collection[int] | None = None, *, huge_pages: bool = False) -> Iterator[System]:
    """No server at all, and memory as a program has it that asks for nothing. Raises BenchError when it ends."""
    command = [sys.executable, "-m", "bench.engines.loop", "--model", engine.model, *engine.options()]
    command += ["--huge-pages"] * huge_pages
    with held_to(cores):
        process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(images: Sequence[Path], seconds: float) -> Rate:
        given = _ask(process, {"images": [str(image.resolve()) for image in images], "seconds": seconds})
        return Rate(given["images"], given["elapsed_s"], {WORKER: given["cpu_s"]})

    try:
        yield run
    finally:
        process.kill()
        process.communicate()


def _ask(process: subprocess.Popen[str], block: object) -> dict[str, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(block) + "\n")
        process.stdin.flush()
        given: dict[str, float] = json.loads(process.stdout.readline())
    except (OSError, ValueError) as error:
        raise BenchError("the local loop ended; why stands above") from error
    return given


@contextlib.contextmanager
def gateway(model: str, workers: Mapping[str, Worker], cores: Collection[int] | None = None) -> Iterator[Stack]:
    """A gateway and workers by name, ready; the client says who answers. Raises BenchError."""
    with tempfile.TemporaryDirectory(prefix="bench-engines-") as name, Stack(Path(name)) as stack:
        try:
            stack.credentials.make()
            with held_to(cores):
                # no probes of idle workers: they would take from the others' blocks
                stack.start_gateway(DISPATCH__POLICY="pin", DISPATCH__PROBE_IDLE_S="0")
            for worker, told in workers.items():
                with held_to(told.cores):
                    stack.start_worker(worker, "--backend", told.backend, *told.engine.options(), *told.options)
            stack.wait_ready(model, len(workers), READY_S)
        except StackError as error:
            raise BenchError(str(error)) from error
        yield stack


@dataclass(frozen=True)
class Worker:
    """How one is started."""

    engine: Engine
    backend: str = "opencv_dnn"
    options: Sequence[str] = ()
    cores: Collection[int] | None = None


def through(stack: Stack, worker: str, model: str, connections: int, cores: Collection[int] | None = None) -> System:
    """HTTPS, gateway, tunnel, worker: so many connections that are kept, each of which sends all images again
    and again."""
    token = stack.credentials.client_token.read_text().strip()
    address = Address(stack.port, f"/inference/{model}", {"Authorization": f"Bearer {token}", "X-Worker": worker})
    tls = ssl.create_default_context(cafile=stack.credentials.ca)
    parts = {"gateway": [stack.gateway.popen.pid], WORKER: [stack.workers[worker].popen.pid]}
    return _over_http(address, tls, parts, connections, lambda image: image, cores)


@contextlib.contextmanager
def server(module: str, engine: Engine, connections: int, *, is_form: bool = False) -> Iterator[System]:
    """One of the programs of this package, over plain HTTP. Raises BenchError."""
    port = free_port()
    command = ["env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-m", f"bench.engines.{module}"]
    command += ["--model", engine.model, *engine.options(), "--port", str(port)]
    kind = f"multipart/form-data; boundary={BOUNDARY}" if is_form else "image/jpeg"
    with (
        tempfile.TemporaryDirectory(prefix="bench-engines-") as name,
        running(command, Path(name) / "log", lambda: _is_well(port)) as pid,
    ):
        address = Address(port, "/predict", {"Content-Type": kind})
        yield _over_http(address, None, {WORKER: [pid]}, connections, _form if is_form else lambda image: image)


def _is_well(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _form(image: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="image"\r\n\r\n'
    return head.encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()


def _over_http(
    address: Address,
    tls: ssl.SSLContext | None,
    parts: Parts,
    connections: int,
    body_of: Callable[[bytes], bytes],
    cores: Collection[int] | None = None,
) -> System:
    accounts = Accounts(parts)

    def run(images: Sequence[Path], seconds: float) -> Rate:
        requests = [address.carrying(body_of(image.read_bytes())) for image in images]
        with held_to(cores), contextlib.ExitStack() as stack:
            kept = [Connection(address.port, one, tls) for one in turned(requests, connections)]
            for one in kept:
                stack.callback(one.close)
            seen = watched([one.ask for one in kept], seconds, lambda: (accounts.read(), time.process_time()))
        before, after = seen.before, seen.after
        spent_s = {part: spent_ns(before[0][part], clocks) / 1e9 for part, clocks in after[0].items()}
        return Rate(seen.count, seen.elapsed_s, {**spent_s, "load": after[1] - before[1]})

    return run


def spent_ns(before: Mapping[int, int], after: Mapping[int, int]) -> int:
    """Of processes between two readings; one that came since began at 0."""
    return sum(now - before.get(pid, 0) for pid, now in after.items())
