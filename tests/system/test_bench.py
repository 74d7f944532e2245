"""The measuring tool against a real gateway and workers, as a person starts it: numbers that agree, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.report.files import SUMMARY, read_result
from demo.stack import REPOSITORY, Stack

GATEWAY_STAGES = {"auth", "upload", "queue", "tunnel_out", "worker_queue", "inference", "tunnel_back", "total"}


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[str], Stack]) -> Stack:
    """A gateway and two echo workers of 5 ms."""
    stack = new_stack("bench")
    stack.start_gateway()
    for name in ("worker-1", "worker-2"):
        stack.start_worker(name, "--backend", "echo", "--echo-service-time", "5ms")
    stack.wait_ready("echo", 2)
    return stack


def command(stack: Stack, out: Path, *arguments: str) -> list[str]:
    files = stack.credentials
    who = ["--ca-file", str(files.ca), "--token-file", str(files.client_token), "--url", stack.url, "--model", "echo"]
    return [sys.executable, str(REPOSITORY / "bench" / "test.py"), *who, "--out", str(out), *arguments]


def test_a_run_through_the_gateway(stack: Stack, tmp_path: Path) -> None:
    """Started as a file from another directory: all 200, ten at once, succeed over both workers, no answer is quicker
    than the worker's 5 ms, and the gateway's stages are in the anatomy, whose parts add up."""
    out = tmp_path / "out"
    arguments = ["--rate", "100", "--count", "200", "--warm-up", "20", "--arrivals", "burst"]
    done = subprocess.run(
        command(stack, out, *arguments), cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "latency, ms" in done.stdout
    result = read_result(out)
    assert len(result.samples) == 220
    summary = result.summary
    assert (summary["rates"]["succeeded"], summary["failures"]) == (200, [])
    assert summary["response_ms"]["min"] >= 5
    assert {worker["name"] for worker in summary["workers"]} == {"worker-1", "worker-2"}
    assert set(result.samples.stage_names) >= GATEWAY_STAGES
    for bar in summary["anatomy"]:
        assert sum(bar["parts"].values()) == pytest.approx(bar["response"], abs=0.001)
    assert summary["little"]["holds"]
    rows = result.samples.rows
    assert not rows["reused"][0]
    assert rows["tls"][0] > 0
    token = stack.credentials.client_token.read_bytes().strip()
    assert all(token not in file.read_bytes() for file in out.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_what_was_measured(stack: Stack, tmp_path: Path, number: signal.Signals) -> None:
    """A run of an hour that is interrupted after a while ends at once, with its samples, its table and status 130."""
    out = tmp_path / "out"
    process = subprocess.Popen(
        command(stack, out, "--rate", "200", "--duration", "3600", "--warm-up", "0s"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()  # progress, so requests are under way
        process.send_signal(number)
        rest, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert "in flight" in first
    assert process.returncode == 130, errors
    assert "latency, ms" in rest
    result = read_result(out)
    assert result.summary["run"]["is_interrupted"]
    assert result.summary["rates"]["succeeded"] == len(result.samples) > 100


def test_the_generator_measures_itself() -> None:
    """Against its own trivial server no request fails, and its lag, CPU time and memory are said."""
    flags = ["--rate", "200", "--duration", "1", "--bytes", "100000"]
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", *flags],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("asked 200/s, achieved ")
    assert all(words in done.stdout for words in ("failed 0;", "send lag p50", "us of CPU a request", "MiB after"))


def test_a_dead_gateway_leaves_the_data(new_stack: Callable[[str], Stack], tmp_path: Path) -> None:
    """The gateway is killed on the way: what was answered is there, what was not is there by its reason."""
    stack = new_stack("bench-killed")
    stack.start_gateway()
    stack.start_worker("worker-3", "--backend", "echo")
    stack.wait_ready("echo", 1)
    out = tmp_path / "out"
    run = command(stack, out, "--rate", "100", "--duration", "4", "--warm-up", "0s", "--arrivals", "constant")
    process = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        time.sleep(3)
        stack.gateway.kill()
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, errors
    summary = json.loads((out / SUMMARY).read_text())
    assert summary["rates"]["intended"] == 400
    assert summary["rates"]["succeeded"] + sum(one["count"] for one in summary["failures"]) == 400
    assert {one["reason"] for one in summary["failures"]} <= {"refused", "closed", "reset"}
    assert summary["failures"]
