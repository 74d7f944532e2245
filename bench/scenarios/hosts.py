"""A gateway and workers of this machine, for scenarios that start what they measure; what starts is stopped."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.errors import BenchError
from bench.flags import Settings
from bench.load.generator import Plan
from bench.load.target import SAMPLES, Target, read_pictures, read_token, request_url, tls_context
from demo.stack import Stack, StackError


@contextlib.contextmanager
def local_stack(*, has_request_log: bool = True) -> Iterator[Stack]:
    """A gateway without workers, its keys and logs in a directory that is gone afterwards. Raises BenchError."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        try:
            with Stack(Path(directory)) as stack:
                stack.credentials.make()
                stack.start_gateway(LOG__REQUESTS=None if has_request_log else "false")
                yield stack
        except StackError as error:
            raise BenchError(str(error)) from error


def at_stack(stack: Stack, model: str, flags: argparse.Namespace) -> Settings:
    """Settings that lack only a plan of their own."""
    files = stack.credentials
    return at_url(
        request_url(stack.url, model),
        files.ca,
        read_token(files.client_token),
        flags,
    )


def at_url(url: str, ca: Path | None, token: str, flags: argparse.Namespace) -> Settings:
    """The same for another address of this machine."""
    return Settings(
        target=Target(url, read_pictures(SAMPLES), tls_context(url, ca), token),
        plan=Plan(None, closed_loops=1, count=0, timeout_ns=round(flags.timeout * 1e9)),
        kind="closed",
        text="",
        rate=None,
        connections=0,
        keep_alive=not flags.no_keep_alive,
        seed=flags.seed,
        is_demo=False,
    )
