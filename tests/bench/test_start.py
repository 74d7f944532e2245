"""How programs begin and end: Ctrl-C while they load, Ctrl-C later, a reader that leaves, a disk that is full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
CHILDREN = {
    *(f"engines/{name}.py" for name in ("flask_server", "idle", "litserve_server", "loop")),
    *("fleet/crowd.py", "peers/one_at_a_time.py", "peers/upstream.py"),
}
PRINTS = """
def main():
    for number in range(20_000):
        print(number)
    sys.stderr.write("went on\\n")
    return {status}
sys.exit(start.run(main))
"""
INTERRUPTED = """
def main():
    os.kill(os.getpid(), signal.{number})
    signal.pause()
sys.exit(start.run(main))
"""


def run(text: str, output: int = subprocess.DEVNULL, *, is_ignored: bool = False) -> subprocess.CompletedProcess[str]:
    """A program of this text. `is_ignored`: whether it is started with Ctrl-C ignored, as in a script's background. The
    other signals end it, also where the tests were started by nohup, which ignores SIGHUP."""

    def signals() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        if is_ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    return subprocess.run(
        [sys.executable, "-c", f"import os, signal, sys\nfrom bench import start\n{text}"],
        cwd=BENCH.parent,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=signals,
    )


def test_ctrl_c_while_libraries_load_is_silent() -> None:
    """The process ends by the signal, which a shell shows as 130; where Ctrl-C is ignored it stays so."""
    text = "start.loading()\nos.kill(os.getpid(), signal.SIGINT)\nsys.stderr.write('lives')"
    ended = run(text)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")
    ignored = run(text, is_ignored=True)
    assert (ignored.returncode, ignored.stderr) == (0, "lives")


@pytest.mark.parametrize("before", ["", "start.loading()"])
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_ctrl_c_later_is_one_line(before: str, number: str) -> None:
    """Status 130 without a traceback, wherever main() does not answer it itself; also for who else ends a program."""
    ended = run(before + INTERRUPTED.format(number=number))
    assert (ended.returncode, ended.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("status", [0, 1])
def test_a_reader_that_leaves_changes_nothing(status: int) -> None:
    """The program goes on to its end, and its status is its own."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb"):
        ended = run(PRINTS.format(status=status), writer)
    assert (ended.returncode, ended.stderr) == (status, "went on\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(("status", "ends_with"), [(0, 3), (1, 1)])
def test_a_full_disk_is_one_line(status: int, ends_with: int) -> None:
    """The program goes on to its end; status 3 says that output is missing, unless there is worse to say."""
    with open("/dev/full", "wb") as full:
        ended = run(PRINTS.format(status=status), full.fileno())
        line = run("sys.exit(start.run(lambda: print('one line') or 0))", full.fileno())
    said = "the output could not be written: No space left on device\n"
    assert (ended.returncode, ended.stderr) == (ends_with, f"went on\n{said}")
    assert (line.returncode, line.stderr) == (3, said)


def test_what_is_printed_arrives(tmp_path: Path) -> None:
    """All of it, in order, where nothing is wrong."""
    file = tmp_path / "out"
    with file.open("wb") as output:
        assert run(PRINTS.format(status=0), output.fileno()).returncode == 0
    assert file.read_text().split() == [str(number) for number in range(20_000)]


def test_every_program_begins_and_ends_so() -> None:
    """Whatever a person starts; not what programs start themselves."""
    texts = {path.relative_to(BENCH).as_posix(): path.read_text(encoding="utf-8") for path in BENCH.rglob("*.py")}
    programs = {name for name, text in texts.items() if '__name__ == "__main__"' in text} - CHILDREN
    assert {"test.py", "peers/__main__.py", "load/__main__.py"} <= programs
    for name in programs:
        assert 'if __name__ == "__main__":\n    start.loading()\n' in texts[name], name
        assert 'if __name__ == "__main__":\n    sys.exit(start.run(main))\n' in texts[name], name
