"""`python -m bench.example`: one real run for a report to look at, from nothing to report.html.

A gateway and three OpenCV workers on this machine, each worker behind a relay of its own that behaves like LTE; then
bench/test.py as anybody would call it. docs/explanation/example-report.md shows what it made.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from bench.errors import BenchError
from bench.flags import positive
from bench.scenarios.hosts import local_stack
from demo.stack import REPOSITORY, StackError

WORKERS = 3
MODEL = "digits"


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns the exit status of bench/test.py, or 2 when it could not be started."""
    flags = _parser().parse_args(arguments)
    try:
        with local_stack() as stack, contextlib.ExitStack() as relays:
            for number in range(1, WORKERS + 1):
                port = relays.enter_context(_relay(stack.port, flags.profile, flags.seed + number))
                stack.start_worker(f"{flags.profile}-{number}", gateway=f"wss://localhost:{port}")
            stack.wait_ready(MODEL, WORKERS)
            files = stack.credentials
            command = [sys.executable, "bench/test.py", "--url", stack.url, "--ca", str(files.ca)]
            command += ["--token-file", str(files.client_token), "--rate", str(flags.rate), "--seed", str(flags.seed)]
            command += ["--duration", str(flags.duration), "--name", f"{WORKERS} OpenCV workers behind {flags.profile}"]
            return subprocess.run([*command, "--out", str(flags.out)], cwd=REPOSITORY, check=False).returncode
    except (BenchError, StackError) as error:
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(f"example: {error}")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.example", description="A real run, and its report.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the result is written")
    parser.add_argument("--profile", default="lte", help="of the network, see bench/wan.py (default: lte)")
    parser.add_argument("--rate", type=positive, default=40.0, help="requests per second (default: 40)")
    parser.add_argument("--duration", type=positive, default=60.0, metavar="S", help="(default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals and of the networks (default: 1)")
    return parser


@contextlib.contextmanager
def _relay(to_port: int, profile: str, seed: int) -> Iterator[int]:
    """A network in front of a port; gives its own port. It ends with its standard input."""
    command = [sys.executable, "-m", "bench.wan", "--to", f"127.0.0.1:{to_port}", "--profile", profile]
    with subprocess.Popen(
        [*command, "--seed", str(seed), "--json", "--until-eof"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise BenchError(f"the relay with the profile {profile} did not start")
        try:
            yield int(json.loads(line)["port"])
        finally:
            process.stdin.close()
            process.stdout.read()


if __name__ == "__main__":
    sys.exit(main())
