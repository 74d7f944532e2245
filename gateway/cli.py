"""The command line `gateway`: serve, check a configuration, and (from files of their own) classify, keys and tokens.

Exits 0 after a drain in which all was finished, 1 when something could not be done, 2 for a command line or a
configuration that cannot be used, before any port is opened.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import uvloop

from gateway import classify_cli, credentials_cli
from gateway.app import CannotListen, Gateway
from gateway.config import Config
from gateway.config_reader import ConfigError, load
from gateway.files import FileError
from gateway.logs import configure_logs
from gateway.process import prepare_process


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit status."""
    flags = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = flags.run
    return run(flags)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gateway", description="Gives clients' requests to workers that dial out.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _with_configuration(commands, "serve", _serve, "serve clients and workers until SIGTERM, then drain")
    _with_configuration(commands, "check", _check, "say whether the configuration can be used, without serving")
    classify_cli.register(commands)
    credentials_cli.register(commands)
    return parser


def _with_configuration(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
) -> None:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog="A flag beats the environment (GATEWAY_SECTION__NAME), which beats the file. "
        "Every setting: docs/reference/configuration.md",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with the settings")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one setting, such as limits.max_parts=64"
    )
    parser.set_defaults(run=run)


def _config(flags: argparse.Namespace) -> Config:
    settings = {}
    for assignment in flags.set:
        name, equals, value = assignment.partition("=")
        if not equals or "." not in name:
            raise ConfigError([f"--set {assignment}: must be SECTION.NAME=VALUE"])
        settings[name] = value
    return load(flags.config, os.environ, settings)


def _check(flags: argparse.Namespace) -> int:
    def check() -> int:
        Gateway(_config(flags))
        print("the configuration can be used")
        return 0

    return _reported(check)


def _serve(flags: argparse.Namespace) -> int:
    def serve() -> int:
        config = _config(flags)
        configure_logs(config.log.format, config.log.level)
        prepare_process()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return 0 if runner.run(_run(config)) else 1

    return _reported(serve)


async def _run(config: Config) -> bool:
    gateway = Gateway(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, gateway, number)
    return await gateway.run()


def _on_signal(gateway: Gateway, number: signal.Signals) -> None:
    """The first signal drains; a second one means now: whoever still waits is cut off."""
    loop = asyncio.get_running_loop()
    for again in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(again, os._exit, 128 + number)
    gateway.stop()


def _reported(act: Callable[[], int]) -> int:
    """Mistakes that a person can mend become lines on standard error and a status, not a traceback."""
    try:
        return act()
    except (ConfigError, FileError, CannotListen) as error:
        for line in str(error).splitlines():
            print(f"gateway: {line}", file=sys.stderr)
        return 1 if isinstance(error, CannotListen) else 2
