"""`python -m bench.example`: one real run for a report to look at, from nothing to report.html.

A gateway and three OpenCV workers on this machine, each worker behind a relay of its own that behaves like LTE; then
bench/test.py as anybody would call it. docs/explanation/example-report.md shows what it made.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import start

if __name__ == "__main__":
    start.loading()

from bench import terminal
from bench.errors import BenchError
from bench.flags import positive
from bench.load.loop import run_loop
from bench.network.process import network
from bench.network.profile import PROFILES
from bench.scenarios.hosts import local_stack
from demo.stack import REPOSITORY, Stack

WORKERS = 3
MODEL = "digits"
BAD_INPUT, INTERRUPTED = 2, 130
"""Exit status, beside those of bench/test.py."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns the exit status of bench/test.py, 2 when it could not be started, or 130 after Ctrl-C."""
    flags = _parser().parse_args(arguments)
    try:
        return run_loop(_run(flags))
    except BenchError as error:
        terminal.errors().print(f"example: {error}")
        return BAD_INPUT
    except KeyboardInterrupt:
        terminal.errors().print("example: interrupted; everything that was started has ended")
        return INTERRUPTED


async def _run(flags: argparse.Namespace) -> int:
    profile = PROFILES[flags.profile]
    with local_stack() as stack:
        async with contextlib.AsyncExitStack() as networks:
            for number in range(1, WORKERS + 1):
                between = network(profile, seed=flags.seed + number, to=("127.0.0.1", stack.port))
                link = await networks.enter_async_context(between)
                stack.start_worker(f"{flags.profile}-{number}", gateway=f"wss://localhost:{link.port}")
            stack.wait_ready(MODEL, WORKERS)
            return await _measure(_command(stack, flags))


async def _measure(command: Sequence[str]) -> int:
    """Its exit status. Ctrl-C is passed on and its end awaited: an interrupted run is still written."""
    measuring = await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY, start_new_session=True)
    try:
        return await measuring.wait()
    finally:
        if measuring.returncode is None:
            measuring.send_signal(signal.SIGINT)
            await measuring.wait()


def _command(stack: Stack, flags: argparse.Namespace) -> list[str]:
    files = stack.credentials
    command = [sys.executable, "bench/test.py", "--url", stack.url, "--ca-file", str(files.ca)]
    command += ["--token-file", str(files.client_token), "--rate", str(flags.rate), "--seed", str(flags.seed)]
    command += ["--duration", str(flags.duration), "--name", f"{WORKERS} OpenCV workers behind {flags.profile}"]
    return [*command, "--out", str(flags.out)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.example", description="A real run, and its report.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the result is written")
    parser.add_argument("--profile", choices=PROFILES, default="lte", help="of each worker's network (default: lte)")
    parser.add_argument("--rate", type=positive, default=40.0, metavar="RATE", help="requests per second (default: 40)")
    parser.add_argument("--duration", type=positive, default=60.0, metavar="S", help="seconds (default: 60)")
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="of the arrivals and of the networks (default: 1)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(start.run(main))
