"""`python -m bench.fleet.crowd`: many workers in one process, each with its own name, token and tunnel.

Reads from standard input how many are wanted, writes a line of JSON whenever something changed. Each dials as a real
worker does: a backoff of its own with full jitter, a refusal's Retry-After, and the real worker's time-out for a dial.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import secrets
import signal
import ssl
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.fleet.tunnel import Refused, Tunnel, open_tunnel, upgrade_of
from bench.load.loop import run_loop
from edge_worker.backoff import Backoff
from edge_worker.dialer import DIAL_TIMEOUT_S
from gateway.auth import DEFAULT_AUDIENCE, DEFAULT_ISSUER, sign
from gateway.keys import KeyDirectory
from wire import VERSION
from wire.frames import Hello, Model
from wire.limits import Limits

MODEL = "idle"
SLOTS = 2
TOKEN_S = 86_400
AT_ONCE = 32
"""First dials of one process that are under way at the same moment: a fleet that grows. Later dials have no bound."""
SAY_S = 0.05
"""Between two lines at least."""
TICK_S = 1.0
MOST_FAILURES = 20
"""Kinds of failed dials that are told apart."""


class Crowd:
    """All workers of one process."""

    def __init__(self, url: str, tls: ssl.SSLContext, tokens: Iterator[tuple[str, str]], seed: int) -> None:
        """`tokens`: names of workers and a token of each, without end."""
        self._url = url
        self._tls = tls
        self._tokens = tokens
        self._rng = random.Random(seed)
        self._generation = time.time_ns() // 1_000_000
        self._limits = Limits()
        self._first_dials = asyncio.Semaphore(AT_ONCE)
        self._tunnels: dict[str, Tunnel] = {}
        self._ready: set[str] = set()
        self._ready_at = 0.0
        self._dials = 0
        self._failures: Counter[str] = Counter()
        self._wanted = 0
        self._members: list[asyncio.Task[None]] = []

    async def run(self, wanted: asyncio.StreamReader) -> None:
        """Until the end of the input."""
        beside = [asyncio.create_task(one) for one in (self._say(), self._tick())]
        try:
            while line := await wanted.readline():
                for _ in range(int(line) - len(self._members)):
                    self._members.append(asyncio.create_task(self._member(*next(self._tokens))))
        finally:
            for task in [*beside, *self._members]:
                task.cancel()
            await asyncio.gather(*beside, *self._members, return_exceptions=True)

    async def _member(self, name: str, token: str) -> None:
        """One worker, for ever."""
        backoff, request, dial = Backoff(random.Random(self._rng.random())), upgrade_of(self._url, token), 0
        async with self._first_dials:
            tunnel = await self._dial(name, request, dial)
        while True:
            delay_s = backoff.next_delay_s() if tunnel is None else 0.0
            if isinstance(tunnel, Tunnel):
                began = time.monotonic()
                self._tunnels[name] = tunnel
                self._failures[await tunnel.ended] += 1
                del self._tunnels[name]
                self._ready.discard(name)
                backoff.connection_lived(time.monotonic() - began)
                delay_s = backoff.next_delay_s()
            elif tunnel is not None:
                delay_s = backoff.next_delay_s(tunnel)
            await asyncio.sleep(delay_s)
            dial += 1
            tunnel = await self._dial(name, request, dial)

    async def _dial(self, name: str, request: bytes, dial: int) -> Tunnel | float | None:
        """A tunnel; or seconds after which the gateway wants us back; or None."""
        self._dials += 1
        hello = self._hello(name, dial)
        try:
            return await open_tunnel(
                self._url,
                self._tls,
                lambda: Tunnel(request, hello, self._limits, lambda: self._is_ready(name)),
                DIAL_TIMEOUT_S,
            )
        except (Refused, OSError) as error:  # TimeoutError is an OSError
            text = str(error) or type(error).__name__
            if len(self._failures) < MOST_FAILURES or text in self._failures:
                self._failures[text] += 1
            return error.retry_after_s if isinstance(error, Refused) else None

    def _hello(self, name: str, dial: int) -> Hello:
        models = (Model(MODEL, "1", SLOTS),)
        limits = self._limits
        return Hello(
            (VERSION,), name, self._generation, dial, "bench.fleet", models, limits.max_exchanges, limits.window_bytes
        )

    def _is_ready(self, name: str) -> None:
        self._ready.add(name)
        self._ready_at = time.monotonic()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            for tunnel in list(self._tunnels.values()):
                tunnel.tick(now)

    async def _say(self) -> None:
        said: dict[str, object] = {}
        while True:
            now = {
                "open": len(self._tunnels),
                "ready": len(self._ready),
                "ready_at": self._ready_at,
                "dials": self._dials,
                "failures": dict(self._failures),
            }
            if now != said:
                said = now
                print(json.dumps(said), flush=True)  # noqa: T201  how its parent learns of it
            await asyncio.sleep(SAY_S)


def tokens_of(keys: Path, prefix: str) -> Iterator[tuple[str, str]]:
    """Names that begin so, and for each a token of its own, as `gateway token issue` makes them."""
    key = KeyDirectory(keys).signing_key()
    number = 0
    while True:
        number += 1
        name, now = f"{prefix}{number}", int(time.time())
        claims = {
            "iss": DEFAULT_ISSUER,
            "aud": DEFAULT_AUDIENCE,
            "sub": name,
            "scope": f"worker:{name}",
            "jti": secrets.token_hex(16),
            "iat": now,
            "nbf": now,
            "exp": now + TOKEN_S,
        }
        yield name, sign(claims, key.private_key, key.algorithm, key.kid)


def raise_file_limit() -> int:
    """Lets this process and those it starts open as many files as the system allows; how many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


async def main() -> None:
    """The program."""
    made = argparse.ArgumentParser(prog="python -m bench.fleet.crowd", description="Many workers, for bench.fleet.")
    made.add_argument("--url", required=True)
    made.add_argument("--ca-file", type=Path, required=True)
    made.add_argument("--keys", type=Path, required=True)
    made.add_argument("--prefix", required=True)
    made.add_argument("--seed", type=int, required=True)
    flags = made.parse_args()
    raise_file_limit()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # our parent's to answer: it ends our input
    wanted = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(wanted), sys.stdin)
    tls = ssl.create_default_context(cafile=flags.ca_file)
    await Crowd(flags.url, tls, tokens_of(flags.keys, flags.prefix), flags.seed).run(wanted)


if __name__ == "__main__":
    run_loop(main())
