"""The command line `edge-worker`: reads the configuration, runs the worker, turns signals into drain and stop.

Exits 0 after a drain, 2 for a configuration that cannot be used (before anything is dialled).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence

from edge_worker.app import Worker
from edge_worker.config import ConfigError, load
from edge_worker.logs import set_up_logs
from edge_worker.options import add_options

log = logging.getLogger("edge_worker.cli")


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit status."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    try:
        config = load(flags, os.environ)
        set_up_logs(config.log_format, config.log_level)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_connect(Worker(config)))
    except ConfigError as error:
        for problem in str(error).splitlines():
            print(f"edge-worker: {problem}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-worker", description="Runs models behind a firewall for a gateway.")
    commands = parser.add_subparsers(dest="command", required=True)
    connect = commands.add_parser(
        "connect",
        help="dial out to one or more gateways and serve what they send",
        description="Dials out to one or more gateways and serves what they send, until SIGTERM; then drains.",
        epilog="A flag beats its variable (in brackets); an empty variable counts as not set. Lists in a variable are "
        "separated by commas. The token itself can be given by the variable TOKEN only. "
        "More: docs/reference/command-line.md",
        allow_abbrev=False,  # or `--token SECRET` would be read as --token-file, and shown in its error
    )
    add_options(connect)
    return parser


async def _connect(worker: Worker) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, worker, number)
    if not await worker.run():
        os._exit(0)  # nothing was begun, and a model that is being loaded on a thread cannot be stopped


def _on_signal(worker: Worker, number: signal.Signals) -> None:
    """The first signal drains; a second one means now: there is nothing here that would be worth saving."""
    loop = asyncio.get_running_loop()
    for again in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(again, os._exit, 128 + number)
    worker.stop()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed: fewer microseconds for each message; None for Python's own."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
