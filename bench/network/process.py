"""The relay as a process of its own, so that what is measured through it does not share its interpreter.

async with network(PROFILES["lte"], seed=1, to=("localhost", 8443)) as link:
    ...                     # connect to 127.0.0.1, link.port
link.report                 # what it did, and how late it was by itself
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.errors import BenchError
from bench.load.target import REPOSITORY
from bench.network.profile import Profile, to_json

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0


@dataclass
class RunningNetwork:
    """A relay that is up."""

    port: int
    report: dict[str, Any] = field(default_factory=dict)  # Any: JSON, of Tally.as_json
    """Filled in when the block is over."""


@contextlib.asynccontextmanager
async def network(
    profile: Profile, *, seed: int, to: tuple[str, int], options: Sequence[str] = ()
) -> AsyncIterator[RunningNetwork]:
    """A relay from a free port of 127.0.0.1 to an address, within the block. `options`: further flags of
    bench/wan.py, such as `--packets`. Raises BenchError. The process ends with ours, however that ends."""
    host = f"[{to[0]}]" if ":" in to[0] else to[0]
    command = [sys.executable, "-m", "bench.wan", "--json", "--until-eof", "--to", f"{host}:{to[1]}"]
    relay = await asyncio.create_subprocess_exec(
        *[*command, "--seed", str(seed), "--figures", to_json(profile), *options],
        cwd=REPOSITORY,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches us alone: the relay outlives what is in flight
    )
    try:
        running = RunningNetwork(await _wait_port(relay))
        yield running
        assert relay.stdin is not None
        relay.stdin.close()
        try:
            output, errors = await asyncio.wait_for(relay.communicate(), STOP_TIMEOUT_S)
        except TimeoutError as error:
            raise BenchError(f"the relay did not end in {STOP_TIMEOUT_S:g} s") from error
        if relay.returncode:
            raise BenchError(f"the relay ended with status {relay.returncode}: {errors.decode().strip()[-500:]}")
        running.report = json.loads(output)
    finally:
        if relay.returncode is None:
            relay.kill()
            await relay.wait()


async def _wait_port(relay: asyncio.subprocess.Process) -> int:
    """Raises BenchError with what the relay said."""
    assert relay.stdout is not None
    assert relay.stderr is not None
    line = b""
    with contextlib.suppress(TimeoutError):
        line = await asyncio.wait_for(relay.stdout.readline(), START_TIMEOUT_S)
    if not line:
        if relay.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                relay.kill()
        errors = await relay.stderr.read()
        raise BenchError(errors.decode().strip()[-500:] or f"the relay did not start in {START_TIMEOUT_S:g} s")
    return int(json.loads(line)["port"])
