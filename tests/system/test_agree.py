"""bench/agree.py with real workers of both engines: behind one gateway, and one that listens by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.agree import AGREED, APART
from bench.load.target import SAMPLES
from demo.stack import REPOSITORY, Process, Stack
from tests.support.data import model_dir, shared_data
from tests.support.networks import needs_tensorflow

ENGINES = ("opencv_dnn", "tensorflow")

pytestmark = needs_tensorflow


def agree(stack: Stack, folder: Path, *options: str) -> tuple[int, Any]:  # Any: JSON
    """The program's status, and what it says of this gateway."""
    files = stack.credentials
    command = [sys.executable, "bench/agree.py", str(folder), "--json", "--ca-file", str(files.ca), *options]
    command += ["--token-file", str(files.client_token)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode in (AGREED, APART), done.stderr
    return done.returncode, json.loads(done.stdout)


def start(stack: Stack, model: str, *options: str) -> None:
    """A gateway whose client says who answers, and a worker of each engine, called as its engine."""
    stack.start_gateway(DISPATCH__POLICY="pin")
    for engine in ENGINES:
        stack.start_worker(engine, "--backend", engine, "--threads", "1", "--device", "cpu", *options)
    stack.wait_ready(model, len(ENGINES), timeout_s=180)


def test_both_engines_agree_on_the_digits(new_stack: Callable[[str], Stack]) -> None:
    """Behind one gateway, told apart by name; and one of them against a worker without a gateway."""
    stack = new_stack("agree-digits")
    start(stack, "digits")
    status, said = agree(stack, SAMPLES, "--url", stack.url, "--worker", *ENGINES)
    assert (status, said["compared"], said["same_top1"]) == (AGREED, 10, 10)
    assert said["workers"] == [["opencv_dnn"], ["tensorflow"]]
    listening = ["edge_worker", "serve", "--port", "0", "--log-format", "json"]
    server = Process("serve", listening, stack.directory / "serve.log", {})
    try:
        here = f"http://127.0.0.1:{server.wait_event('serving')['port']}"
        status, said = agree(stack, SAMPLES, "--url", here, stack.url, "--limit", "1e-9")
    finally:
        server.stop()
    # whoever of the two the gateway takes: six decimals of two engines may differ in the last
    assert (said["compared"], said["same_top1"], said["failed"]) == (10, 10, 0)
    assert said["workers"][0] == []
    assert status == (APART if said["largest_difference"] else AGREED)


def test_both_engines_agree_on_photographs(new_stack: Callable[[str], Stack]) -> None:
    """MobileNet v2 and the 64: the same first label, and no probability that differs by over 1e-4."""
    photographs, models = shared_data() / "images", model_dir()
    stack = new_stack("agree-photographs")
    start(stack, "mobilenet_v2", "--model-dir", str(models), "--no-embedded")
    status, said = agree(stack, photographs, "--url", stack.url, "--model", "mobilenet_v2", "--worker", *ENGINES)
    assert (status, said["compared"], said["same_top1"]) == (AGREED, 64, 64)
    assert said["largest_difference"] <= 1e-4
