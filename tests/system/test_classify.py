"""`gateway classify` and the how-to of the Python client, against a real gateway and a real worker."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.stack import Stack
from gateway.client import Client
from tests.support.connect_proxy import connect_proxy

ROOT = Path(__file__).parents[2]
SAMPLES = "edge_worker/models/digits/samples"
PAGE = (ROOT / "docs/howto/use-the-python-client.md").read_text(encoding="utf-8")
DEMO = "https://localhost:8443"


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[str], Stack]) -> Stack:
    """One worker with the embedded classifier."""
    made = new_stack("classify")
    made.start_gateway()
    made.start_worker("worker-1", "--backend", "opencv_dnn")
    made.wait_ready("digits", 1)
    return made


@pytest.fixture
def folder(stack: Stack, tmp_path: Path) -> Path:
    """What a folder looks like in which `make demo` runs, with a `gateway` to type."""
    (tmp_path / ".demo").symlink_to(stack.credentials.directory)
    (tmp_path / "edge_worker").symlink_to(ROOT / "edge_worker")
    (tmp_path / "gateway").symlink_to(ROOT / "gateway")
    (tmp_path / "wire").symlink_to(ROOT / "wire")
    command = tmp_path / "bin" / "gateway"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m gateway "$@"\n')
    command.chmod(0o755)
    return tmp_path


def run(folder: Path, stack: Stack, *command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "GATEWAY_ADDRESS": stack.url}
    return subprocess.run(command, cwd=folder, env=environment, input=stdin, capture_output=True, timeout=120)


def classify(folder: Path, stack: Stack, *flags: str, stdin: bytes = b"") -> tuple[int, str, str]:
    done = run(folder, stack, "gateway", "classify", *flags, stdin=stdin)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("block", re.findall(r"^```(sh|python)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
def test_each_block_of_the_howto_works_as_it_stands(folder: Path, stack: Stack, block: tuple[str, str]) -> None:
    """But for the port: every line can be copied."""
    language, text = block
    text = text.replace(DEMO, stack.url)
    done = run(
        folder, stack, *(("bash", "-euo", "pipefail", "-c") if language == "sh" else (sys.executable, "-c")), text
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout
    assert b"later:" not in done.stdout


def test_a_line_for_each_picture_in_order(folder: Path, stack: Stack) -> None:
    """File, label, probability; a folder's by name; a bad one on standard error alone, and status 1."""
    status, out, err = classify(folder, stack, SAMPLES)
    assert (status, err) == (0, "")
    assert [line.split("\t")[1] for line in out.splitlines()] == [str(digit) for digit in range(10)]
    (folder / "bad.png").write_bytes(b"no picture")
    status, out, err = classify(folder, stack, "bad.png", f"{SAMPLES}/digit-3.png", "gone.png")
    assert status == 1
    assert out.startswith(f"{SAMPLES}/digit-3.png\t3\t")
    assert out.count("\n") == 1
    assert "bad.png: bad_input" in err
    assert "gone.png: unreadable" in err


def test_json_and_standard_input(folder: Path, stack: Stack) -> None:
    """An object in a line, with the times; a question is answered with yes or no."""
    picture = (ROOT / SAMPLES / "digit-8.png").read_bytes()
    status, out, _ = classify(folder, stack, "-", "--json", "--top", "2", stdin=picture)
    said = json.loads(out)
    assert status == 0
    assert (said["file"], said["predictions"][0]["label"], len(said["predictions"])) == ("-", "8", 2)
    assert said["timing"]["stages_ms"]["inference"] > 0
    assert said["timing"]["network_ms"] > 0
    status, out, _ = classify(folder, stack, "-", "--query", "even", stdin=picture)
    assert (status, out.split("\t")[:2]) == (0, ["-", "yes"])


def test_through_the_proxy_of_the_environment(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """CONNECT with its name and password; the gateway's certificate is verified behind it; NO_PROXY goes around."""
    files = stack.credentials
    token = files.client_token.read_text().strip()
    with connect_proxy("me", "secret") as proxy, Client(stack.url, token=token, ca=files.ca) as client:
        monkeypatch.setenv("https_proxy", proxy.url("me:secret"))
        assert client.classify(ROOT / SAMPLES / "digit-5.png", model="digits").label == "5"
        assert proxy.tunnelled == [f"localhost:{stack.port}"]
        monkeypatch.setenv("no_proxy", "localhost")
        assert client.classify(ROOT / SAMPLES / "digit-6.png", model="digits").label == "6"
        assert len(proxy.tunnelled) == 1


def test_each_mistake_has_a_message(folder: Path, stack: Stack) -> None:
    """Status 2, nothing on standard output, and one line: what is wrong, and what to do."""
    sample = f"{SAMPLES}/digit-3.png"
    (folder / "empty").mkdir()
    mistakes = [
        (["empty"], "has no picture"),
        ([sample, "--model", "nope"], "unknown_model"),
        ([sample, "--ca-file", str(ROOT / "certs/make.sh")], "as a CA"),
        ([sample, "--token-file", "gone"], "--token-file: gone: no such file"),
        ([sample, "--token-file", "/dev/zero"], "--token-file: /dev/zero: longer than"),
        ([sample, "--token-file", sample], f"--token-file: {sample}: does not hold one token"),
        ([sample, "--url", "localhost:1"], "is not an address"),
        ([sample, "--url", "https://localhost:1"], "nothing listens there"),
        ([sample, "--url", stack.url.replace("localhost", "127.0.0.1")], "GATEWAY_CA"),
    ]
    for flags, said in mistakes:
        status, out, err = classify(folder, stack, *flags)
        assert (status, out, err.count("\n")) == (2, "", 1), (flags, err)
        assert said in err, err
