"""The demo: what it prints, its exit status, and that nothing of it is left running, however it is stopped."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.stack import REPOSITORY

MARK = "DEMO_TEST_MARK"
"""A variable that every process of a demo inherits, by which the test finds them."""
PATIENCE_S = 60.0
STAGES = ("auth", "queue", "tunnel_out", "worker_queue", "decode", "preprocess", "inference", "postprocess")

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")


class Demo:
    """One `python -m demo`, in a process group of its own, as a terminal starts it."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self.mark = f"{MARK}={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "demo", "--directory", str(directory), *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONUNBUFFERED": "1", name: value},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []

    def read_until(self, text: str) -> None:
        """Reads its output up to a line with this text."""
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.append(line)
            if text in line:
                return
        raise AssertionError(f"{text!r} never came:\n{self.output}")

    def interrupt(self) -> None:
        """Ctrl-C: the whole group in the foreground has the signal."""
        os.killpg(self.popen.pid, signal.SIGINT)

    def wait(self) -> int:
        """Reads to the end; the exit status."""
        assert self.popen.stdout is not None
        self.lines += self.popen.stdout
        return self.popen.wait(PATIENCE_S)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def processes(self) -> dict[int, str]:
        """What runs of it: command lines by process id."""
        found = {}
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):  # it ended meanwhile, or is not ours
                if folder.name.isdigit() and self.mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def close(self) -> None:
        """Ends all of it by its process ids, where a test failed."""
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        assert self.popen.stdout is not None
        self.popen.stdout.close()
        self.popen.wait()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demos keep their keys: the first makes them, the others find them."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture
def start(directory: Path) -> Iterator[Callable[..., Demo]]:
    """Starts demos, of which nothing survives the test."""
    demos: list[Demo] = []

    def make(*arguments: str, where: Path = directory) -> Demo:
        demos.append(Demo(where, *arguments))
        return demos[-1]

    yield make
    for demo in demos:
        demo.close()


def check_says_all(output: str) -> None:
    """The label, its probability, where the time went, and the curl line."""
    assert re.search(r"is a 7 with probability (0\.9\d+|1\.0+), says worker-[12]$", output, re.MULTILINE), output
    for stage in (*STAGES, "tunnel_back", "total"):
        assert re.search(rf"^ +\d+\.\d{{3}}  {stage} ", output, re.MULTILINE), f"{stage} is missing:\n{output}"
    assert curl_line(output).startswith("curl --cacert ")


def curl_line(output: str) -> str:
    """The command that was printed, with its continuation lines."""
    match = re.search(r"^  (curl (?:.*\\\n)*.*)$", output, re.MULTILINE)
    assert match, output
    return match[1]


def test_once_shows_all_and_ends(start: Callable[..., Demo]) -> None:
    """`--once` prints label, probability, stages and the curl line, exits 0 and leaves nothing running."""
    demo = start("--once")
    assert demo.wait() == 0, demo.output
    check_says_all(demo.output)
    assert demo.processes() == {}


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_demo_once(directory: Path) -> None:
    """`make demo ONCE=1` does the same. The environment is the one that runs the tests: nothing is installed."""
    environment = Path(sys.prefix)
    result = subprocess.run(
        ["make", f"VENV={environment}", "-o", str(environment / ".ready"), "demo", "ONCE=1"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    check_says_all(result.stdout)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_line_works_until_ctrl_c(start: Callable[..., Demo]) -> None:
    """The line that is printed answers with the label; after Ctrl-C nothing is left, and the status is 0."""
    demo = start()
    demo.read_until("Ctrl-C stops everything")
    check_says_all(demo.output)
    answer = subprocess.run(
        ["bash", "-c", f"{curl_line(demo.output)} --silent --show-error --fail-with-body"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert answer.returncode == 0, answer.stderr + answer.stdout
    assert json.loads(answer.stdout)["predictions"][0]["label"] == "7"
    assert len(demo.processes()) == 6, "the demo, the gateway, and two workers with an engine process each"
    demo.interrupt()
    assert demo.wait() == 0, demo.output
    assert "nothing is left running" in demo.output
    assert demo.processes() == {}


@pytest.mark.parametrize("moment", ["making a development CA", "starting a gateway", "the gateway runs", "workers run"])
def test_ctrl_c_while_it_starts(start: Callable[..., Demo], moment: str, tmp_path: Path) -> None:
    """Ctrl-C leaves nothing running also before the demo is ready."""
    if moment == "making a development CA":
        demo = start(where=tmp_path)  # takes its time: nothing is there yet
        demo.read_until(moment)
    else:
        demo = start()
        demo.read_until("starting a gateway")
    count = {"the gateway runs": 2, "workers run": 3}.get(moment, 1)
    deadline = time.monotonic() + PATIENCE_S
    while len(demo.processes()) < count:
        assert time.monotonic() < deadline
    demo.interrupt()
    assert demo.wait() == 0, demo.output
    assert demo.processes() == {}


def test_an_impatient_ctrl_c(start: Callable[..., Demo]) -> None:
    """A second Ctrl-C while everything is being stopped leaves nothing running either."""
    demo = start()
    demo.read_until("Ctrl-C stops everything")
    demo.interrupt()
    time.sleep(0.02)
    demo.interrupt()
    demo.wait()
    assert demo.processes() == {}


def test_a_terminal_that_closes(start: Callable[..., Demo]) -> None:
    """SIGHUP and SIGTERM stop everything as Ctrl-C does."""
    demo = start()
    demo.read_until("Ctrl-C stops everything")
    demo.popen.send_signal(signal.SIGHUP)
    demo.wait()
    assert demo.processes() == {}
