"""The command line `edge-worker`: reads the configuration, runs one command, turns signals into drain and stop.

Exits 0 after a drain in which all was finished or when every file was classified, 1 when something could not be done, 2
for a configuration that cannot be used (before anything is dialled or listened on). A command's libraries are loaded
when it runs, not before.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from edge_worker.backends.base import BackendLost
from edge_worker.backends.engine_process.spawn import kill_spawned
from edge_worker.config import CannotListen, ConfigError, load, load_health, load_local, load_serve
from edge_worker.event_loop import run
from edge_worker.loading import WorkUndone
from edge_worker.logs import set_up_logs
from edge_worker.models_cli import add_models_commands
from edge_worker.option import Option, add_options
from edge_worker.options import CONNECT, HEALTH, LOCAL, SERVE
from edge_worker.time_slice import shorten_slice
from wire.memory import MOST_BYTES, keep_freed_memory

KEPT_BYTES = 16 << 20
"""Of freed memory: the bodies of a moment."""

log = logging.getLogger("edge_worker.cli")


class _Stoppable(Protocol):
    """What runs until it is told to drain."""

    async def run(self) -> None:
        """Until it has drained."""

    def stop(self) -> None:
        """Begins to drain."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit status."""
    flags = _parser().parse_args(arguments)
    try:
        status: int = flags.run(flags)
    except WorkUndone:
        return 1
    except (ConfigError, CannotListen, BackendLost) as error:
        for problem in str(error).splitlines():
            print(f"edge-worker: {problem}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-worker", description="Runs models: for a gateway, or on its own.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        name: str,
        run: Callable[[argparse.Namespace], int],
        options: Sequence[Option],
        help: str,
        more: str,
        to: Any = commands,
    ) -> Any:
        command = to.add_parser(
            name,
            help=help,
            description=more,
            epilog="A flag beats its variable (in brackets); an empty variable counts as not set. Lists in a variable "
            "are separated by commas. More: docs/reference/command-line.md",
            allow_abbrev=False,  # or `--token SECRET` would be read as --token-file, and shown in its error
        )
        command.set_defaults(run=run)
        add_options(command, options)
        return command

    add(
        "connect",
        _connect,
        CONNECT,
        "dial out to one or more gateways and serve what they send",
        "Dials out to one or more gateways and serves what they send, until SIGTERM; then drains. The token itself can "
        "be given by the variable TOKEN only.",
    )
    add(
        "serve",
        _serve,
        SERVE,
        "serve the models over HTTP, without a gateway",
        "Serves the models over HTTP until SIGTERM; then drains. Nobody is asked for a token: it listens on loopback "
        "unless it is told otherwise.",
    )
    add(
        "health",
        _health,
        HEALTH,
        "ask a worker of this machine whether it is ready",
        "Asks a worker that was started with the same --health-socket whether it is ready: its tunnel open, and "
        "its models answering. Prints one line that says why; status 0 when it is, 1 when not.",
    )
    local = add(
        "local",
        _local,
        LOCAL,
        "classify files on this machine",
        "Classifies files on this machine, without a gateway or a network, and says where the time went.",
    )
    local.add_argument("model", metavar="MODEL", help="the model to ask")
    local.add_argument("images", metavar="IMAGE", nargs="+", type=Path, help="image files")
    models = commands.add_parser("models", help="list, show, pull and verify models", allow_abbrev=False)
    add_models_commands(partial(add, to=models.add_subparsers(metavar="ACTION", required=True)))
    return parser


# --- connect ----------------------------------------------------------------------------------------------------------


def _connect(flags: argparse.Namespace) -> int:
    from edge_worker.app import Worker

    config = load(flags, os.environ)
    os.environ.pop("TOKEN", None)  # no child process and no dump of the environment has it from here on
    set_up_logs(config.log_format, config.log_level)
    run(_until_signalled(Worker(config)))
    return 0


async def _until_signalled(server: _Stoppable) -> None:
    keep_freed_memory(MOST_BYTES, KEPT_BYTES)
    shorten_slice()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, server, number)
    await server.run()


def _on_signal(server: _Stoppable, number: signal.Signals) -> None:
    """The first signal drains; a second one means now: there is nothing here that would be worth saving."""
    loop = asyncio.get_running_loop()
    for again in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(again, _leave, number)
    server.stop()


def _leave(number: signal.Signals) -> None:
    kill_spawned()
    os._exit(128 + number)


# --- serve ------------------------------------------------------------------------------------------------------------


def _serve(flags: argparse.Namespace) -> int:
    try:
        from edge_worker.serve import WorkerServer
    except ImportError as error:
        if error.name != "aiohttp":
            raise
        raise ConfigError("serve needs aiohttp: pip install '.[worker,serve]'") from error

    config = load_serve(flags, os.environ)
    set_up_logs(config.log_format, config.log_level)
    run(_until_signalled(WorkerServer(config)))
    return 0


# --- health -----------------------------------------------------------------------------------------------------------


def _health(flags: argparse.Namespace) -> int:
    from edge_worker.health import ask

    health = ask(str(load_health(flags, os.environ)))
    print(health.text)
    return 0 if health.is_ready else 1


# --- local ------------------------------------------------------------------------------------------------------------


def _local(flags: argparse.Namespace) -> int:
    from edge_worker.local import run_local
    from edge_worker.local_report import as_document, as_table, shown

    config = load_local(flags, os.environ)
    set_up_logs("console", "warning")
    result = run(run_local(config))
    for one in result.files:
        if one.error:
            print(f"edge-worker: {shown(str(one.file))}: {one.error}", file=sys.stderr)
    print(as_document(result) if config.as_json else as_table(result))
    return 1 if any(one.error for one in result.files) else 0
