"""`python -m bench.peers.one_at_a_time`: an HTTP server that works on one request at a time, as long as it is told.

It stands for a model server behind an ordinary load balancer. It takes every connection at once and serves requests in
the order in which they came, which is the best that such a server can do. It says in `Server-Timing` how long it
worked, as a worker of ours does. Prints its port as one line of JSON. Speaks
as much HTTP/1.1 as nginx needs, with keep-alive; refuses bodies without a length. For benchmarks on this machine only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import signal
import time

from edge_worker.backends.service_time import ServiceTime, parse_service_time

MAX_BODY_BYTES = 64 << 20
MAX_HEAD_BYTES = 65_536
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer-Timing: inference;dur=%.3f\r\n"
    b"Content-Length: %d\r\n\r\n%s"
)


class OneAtATime:
    """Every request waits for those before it."""

    def __init__(self, name: str, service: ServiceTime, seed: int = 1) -> None:
        self._body = json.dumps({"worker": name}).encode()
        self._service = service
        self._random = random.Random(seed)
        self._turn = asyncio.Lock()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until its end."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = LENGTH.search(head)
                if length is None or int(length[1]) > MAX_BODY_BYTES:
                    return
                await reader.readexactly(int(length[1]))
                async with self._turn:
                    began_ns = time.monotonic_ns()
                    await asyncio.sleep(self._service.draw_s(self._random))
                    took_ms = (time.monotonic_ns() - began_ns) / 1e6
                writer.write(ANSWER % (took_ms, len(self._body), self._body))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            return  # the other side is done, or is no HTTP
        finally:
            writer.close()


async def run(name: str, service: ServiceTime, seed: int) -> None:
    """Until SIGTERM."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    one = OneAtATime(name, service, seed)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0, limit=MAX_HEAD_BYTES, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"event": "serving", "port": port}), flush=True)  # noqa: T201  how its parent learns the port
    await ended.wait()
    server.close()


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.one_at_a_time")
    parser.add_argument("--name", required=True)
    parser.add_argument("--service", type=parse_service_time, required=True, help="as --echo-service-time")
    parser.add_argument("--seed", type=int, default=1)
    flags = parser.parse_args()
    try:
        import uvloop
    except ImportError:
        asyncio.run(run(flags.name, flags.service, flags.seed))
    else:
        uvloop.run(run(flags.name, flags.service, flags.seed))  # as the gateway and its workers


if __name__ == "__main__":
    main()
