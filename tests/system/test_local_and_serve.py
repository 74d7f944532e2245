"""One model, three ways: on this machine, over plain HTTP, and through gateway and tunnel. The answers are the same."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from demo.stack import REPOSITORY, Credentials, Process, Stack
from tests.support.data import model_dir, photographs

SAMPLES = sorted((REPOSITORY / "edge_worker/models/digits/samples").glob("*.png"))
EXACT = 1e-6
"""The least step of a probability in an answer: the same engine with the same threads computes the same numbers."""


def local(model: str, images: Sequence[Path], *options: str) -> subprocess.CompletedProcess[str]:
    """Runs `edge-worker local`."""
    command = [sys.executable, "-m", "edge_worker", "local", model, *map(str, images), *options]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


@contextmanager
def serving(log: Path, *options: str) -> Iterator[tuple[Process, int]]:
    """`edge-worker serve` and its port."""
    command = ["edge_worker", "serve", "--port", "0", "--log-format", "json", *options]
    server = Process("serve", command, log, os.environ)
    try:
        yield server, server.wait_event("serving")["port"]
    finally:
        server.stop()


def ask(port: int, path: str, body: bytes, tls: ssl.SSLContext | None = None) -> tuple[int, Any]:  # Any: JSON
    connection = (
        http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        if tls is None
        else http.client.HTTPSConnection("localhost", port, timeout=60, context=tls)
    )
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    """The same labels in the same order, with the same probabilities."""
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        assert [p["label"] for p in left["predictions"]] == [p["label"] for p in right["predictions"]]
        for mine, theirs in zip(left["predictions"], right["predictions"], strict=True):
            assert mine["probability"] == pytest.approx(theirs["probability"], abs=EXACT)


def compare(stack: Stack, log: Path, model: str, images: Sequence[Path], *options: str) -> None:
    """Classifies the images in each of the three ways."""
    done = local(model, images, "--json", "--top", "5", *options)
    assert done.returncode == 0, done.stderr
    here = json.loads(done.stdout)["images"]
    with serving(log, *options) as (_, port):
        direct = [ask(port, f"/inference/{model}", image.read_bytes()) for image in images]
    assert {status for status, _ in direct} == {200}
    tunnelled = [stack.request("POST", f"/inference/{model}", image.read_bytes()) for image in images]
    assert {status for status, *_ in tunnelled} == {200}
    same(here, [answer for _, answer in direct])
    same(here, [json.loads(body) for _, _, body in tunnelled])


def test_the_embedded_model_three_ways(new_stack: Callable[[str], Stack], tmp_path: Path) -> None:
    """The ten digits give the same labels and probabilities locally, directly and through the tunnel."""
    stack = new_stack("three-ways")
    stack.start_gateway()
    stack.start_worker("worker-1", "--threads", "1")
    stack.wait_ready("digits", 1)
    compare(stack, tmp_path / "serve.log", "digits", SAMPLES, "--threads", "1")


def test_mobilenet_three_ways(new_stack: Callable[[str], Stack], tmp_path: Path) -> None:
    """So do the 64 photographs with MobileNet v2."""
    images, options = [photograph.path for photograph in photographs()], ("--model-dir", str(model_dir()))
    stack = new_stack("three-ways-mobilenet")
    stack.start_gateway()
    stack.start_worker("worker-1", "--threads", "1", *options)
    stack.wait_ready("mobilenet_v2", 1)
    compare(stack, tmp_path / "serve.log", "mobilenet_v2", images, "--threads", "1", *options)


def test_a_bad_file_fails_alone(tmp_path: Path) -> None:
    """The others are in the table, the bad ones are lines on standard error, and the status is 1."""
    done = local("digits", [SAMPLES[7], REPOSITORY / "README.md", tmp_path / "none.png"])
    assert done.returncode == 1
    assert "digit-7.png" in done.stdout
    assert "2 of 3 files failed" in done.stdout
    lines = done.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == [str(REPOSITORY / "README.md"), str(tmp_path / "none.png")]


def test_sigterm_under_load_loses_nothing(tmp_path: Path) -> None:
    """What was accepted is answered, and the server leaves with status 0."""
    options = ("--backend", "echo", "--echo-service-time", "2s", "--slots", "8")
    with serving(tmp_path / "serve.log", *options) as (server, port), ThreadPoolExecutor(8) as clients:
        asked = [clients.submit(ask, port, "/", b"x") for _ in range(8)]
        time.sleep(0.7)  # all of them are in their service time then
        server.signal(signal.SIGTERM)
        assert [one.result(timeout=30)[0] for one in asked] == [200] * 8
        assert server.wait() == 0


def test_https(credentials: Credentials, tmp_path: Path) -> None:
    """With a certificate and its key it serves HTTPS, which a client that believes their CA can verify."""
    files = ("--certificate-file", str(credentials.certificate), "--key-file", str(credentials.private_key))
    tls = ssl.create_default_context(cafile=str(credentials.ca))
    with serving(tmp_path / "serve.log", "--backend", "echo", *files) as (_, port):
        status, answer = ask(port, "/inference/echo", b"abc", tls)
    assert (status, answer["bytes"]) == (200, 3)
