"""A folder through a real gateway and real workers: both ways to start the client, its numbers, and its complaints."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from demo.stack import Stack
from tests.support.data import model_dir, photographs, shared_data

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "edge_worker" / "models" / "digits" / "samples"


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[str], Stack]) -> Stack:
    """Two workers with the embedded classifier."""
    made = new_stack("bench-client")
    made.start_gateway()
    for name in ("worker-1", "worker-2"):
        made.start_worker(name, "--backend", "opencv_dnn")
    made.wait_ready("digits", 2)
    return made


def classify(*flags: str, program: Sequence[str] = ("bench/client.py",)) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *program, *flags]
    environment = {name: value for name, value in os.environ.items() if name != "BENCH_TOKEN"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def access(stack: Stack) -> list[str]:
    """The flags of one who may."""
    files = stack.credentials
    return ["--url", stack.url, "--ca-file", str(files.ca), "--token-file", str(files.client_token)]


def json_of(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:  # Any: JSON
    assert result.returncode == 0, result.stderr
    said: dict[str, Any] = json.loads(result.stdout)
    return said


def digits_labels(file: Path, *, wrong: int = 0) -> Path:
    """What the samples' names say, in CSV; so many of them with another digit."""
    with file.open("w", newline="") as table:
        rows = csv.writer(table)
        rows.writerow(["file", "label"])
        for place, sample in enumerate(sorted(SAMPLES.glob("*.png"))):
            digit = int(sample.stem.rpartition("-")[2])
            rows.writerow([sample.name, (digit + 1) % 10 if place < wrong else digit])
    return file


@pytest.mark.parametrize("program", [("bench/client.py",), ("-m", "bench.client")], ids=["file", "module"])
def test_a_folder_is_classified(stack: Stack, tmp_path: Path, program: Sequence[str]) -> None:
    """Every sample has its digit, its probability and a verdict, and the shares are at the end."""
    labels = digits_labels(tmp_path / "labels.csv")
    result = classify(str(SAMPLES), *access(stack), "--labels", str(labels), program=program)
    assert result.returncode == 0, result.stderr
    assert "digit-7.png\t7\t" in result.stdout
    assert result.stdout.count("\tright") == 10
    assert "10 of 10 pictures" in result.stdout
    assert "top-1  10/10 = 100.0 %" in result.stdout


def test_one_at_a_time_and_as_a_form_give_the_same(stack: Stack, tmp_path: Path) -> None:
    """Batches of 64, of 3 and of 1: the same labels and probabilities, and as many requests as that makes."""
    labels = digits_labels(tmp_path / "labels.csv", wrong=2)
    answers = []
    for batch, requests in ((64, 1), (3, 4), (1, 10)):
        flags = ["--labels", str(labels), "--json", "--batch", str(batch), "--concurrency", "4"]
        said = json_of(classify(str(SAMPLES), *access(stack), *flags))
        assert (said["pictures"], said["classified"], said["requests"]) == (10, 10, requests)
        assert said["images_per_second"] > 0
        assert sum(said["workers"].values()) == 10
        assert (said["score"]["labelled"], said["score"]["top1"]["count"]) == (10, 8)
        assert len(said["score"]["confusions"]) == 2
        answers.append([(one["file"], one["predictions"]) for one in said["results"]])
    assert answers[0] == answers[1] == answers[2]


def test_a_bad_picture_fails_alone(stack: Stack, tmp_path: Path) -> None:
    """Status 1, its reason by name, and answers for the others."""
    (tmp_path / "good.png").write_bytes((SAMPLES / "digit-3.png").read_bytes())
    (tmp_path / "bad [x] :x:.png").write_bytes(b"no picture")
    result = classify(str(tmp_path), *access(stack))
    assert result.returncode == 1
    assert "good.png\t3\t" in result.stdout
    assert "bad [x] :x:.png\tfailed: bad_input" in result.stdout
    assert "1 of 2 pictures" in result.stdout


def test_a_gateway_without_a_worker_is_waited_for(stack: Stack, wait_until: Callable[..., float]) -> None:
    """503 is tried again when the answer says; a worker that comes meanwhile answers."""
    stack.workers.pop("worker-1").kill()
    stack.workers.pop("worker-2").kill()
    wait_until(lambda: stack.ready_workers("digits") == 0, "both are missed")
    before = len(stack.gateway.events("request"))
    client = subprocess.Popen(
        [sys.executable, "bench/client.py", str(SAMPLES), *access(stack), "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with client:
        wait_until(lambda: len(stack.gateway.events("request")) > before, "it is told to come back in 5 s")
        stack.start_worker("worker-1", "--backend", "opencv_dnn")
        stack.start_worker("worker-2", "--backend", "opencv_dnn")
        output, _ = client.communicate(timeout=60)
    stack.wait_ready("digits", 2)
    assert client.returncode == 0
    said = json.loads(output)
    assert said["classified"] == 10
    assert said["waited_s"] >= 1
    assert max(one["tries"] for one in said["results"]) >= 2


def test_ctrl_c_keeps_what_is_there(stack: Stack, tmp_path: Path, wait_until: Callable[..., float]) -> None:
    """Status 130, and the results so far on standard output."""
    for place in range(3000):
        (tmp_path / f"{place}.png").write_bytes((SAMPLES / "digit-3.png").read_bytes())
    before = len(stack.gateway.events("request"))
    client = subprocess.Popen(
        [sys.executable, "bench/client.py", str(tmp_path), *access(stack), "--json", "--batch", "1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with client:
        wait_until(lambda: len(stack.gateway.events("request")) > before + 30, "thirty answers")
        client.send_signal(signal.SIGINT)
        output, _ = client.communicate(timeout=30)
    assert client.returncode == 130
    said = json.loads(output)
    assert 0 < said["classified"] < 3000
    assert said["failures"] == {"not_sent": 3000 - said["classified"]}


def test_each_mistake_has_a_message(stack: Stack, tmp_path: Path) -> None:
    """Status 2 and one line: what is wrong, and what to do."""
    good = access(stack)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = f"https://localhost:{nobody.getsockname()[1]}"
        mistakes = [
            ([str(tmp_path), *good], "has no picture"),
            ([str(tmp_path / "gone"), *good], "is not there"),
            ([*good, "--model", "nope"], "is --model nope served there?"),
            (["--url", stack.url, "--ca-file", str(stack.credentials.ca)], "give --token-file FILE"),
            (["--url", stack.url], "give its CA with --ca-file FILE"),
            (["--url", stack.url, "--ca-file", __file__], "as a CA"),
            (["--url", stack.url.replace("https", "http")], "is it http or https?"),
            (["--url", closed], "nothing listens there"),
            (["--url", "https://nobody.invalid"], "no host has that name"),
            (["--url", "localhost:8443"], "is not an address"),
            ([*good, "--labels", str(tmp_path / "gone.csv")], "cannot read"),
            ([*good, "--token-file", str(tmp_path / "gone")], "cannot read the token"),
        ]
        for flags, said in mistakes:
            result = classify(*flags)
            assert (result.returncode, result.stdout) == (2, ""), flags
            assert said in result.stderr, flags
            assert result.stderr.count("\n") == 1, result.stderr


def test_photographs_through_mobilenet(new_stack: Callable[[str], Stack]) -> None:
    """64 real photographs in one form: the shares that the table of labels has, and the confusions by name."""
    known = photographs()
    stack = new_stack("bench-client-photographs")
    stack.start_gateway()
    stack.start_worker("worker-3", "--backend", "opencv_dnn", "--model-dir", str(model_dir()))
    stack.wait_ready("mobilenet_v2", 1)
    images = shared_data() / "images"
    flags = ["--model", "mobilenet_v2", "--labels", str(images / "labels.csv"), "--json"]
    said = json_of(classify(str(images), *access(stack), *flags))
    right = sum(one.model_index == one.class_index for one in known)
    assert (said["classified"], said["requests"]) == (64, 1)
    assert abs(said["score"]["top1"]["count"] - right) <= 1
    assert said["score"]["top5"]["count"] >= said["score"]["top1"]["count"]
    assert sum(one["count"] for one in said["score"]["confusions"]) == 64 - said["score"]["top1"]["count"]
