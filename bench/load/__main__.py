"""`python -m bench.load`: how fast the generator is, against a server that does nothing, on this machine.

The server is a process of its own that reads a body and answers; what is left is the generator's. Prints the rate, the
send lag, the generator's own CPU time for a request, how long it waited for a core, and its memory. It judges nothing:
a busy machine gives bad numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import multiprocessing
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path

from bench import start

if __name__ == "__main__":
    start.loading()

import numpy as np

from bench.flags import count, positive
from bench.load.arrivals import NS, Arrivals, WarmUp, constant
from bench.load.clock import SystemClock
from bench.load.generator import Generator, Plan, Run
from bench.load.loop import run_loop
from bench.load.sample import Recorder
from bench.load.target import Picture, Target
from bench.load.transport import HttpTransport
from bench.load.trivial import serve

WARM_UP_S = 1


def main() -> int:
    """The program. Returns the exit status; 130 after Ctrl-C, as a shell has it."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description="The speed of the load generator itself.")
    parser.add_argument(
        "--rate",
        type=positive,
        nargs="+",
        default=[1000.0, 2000.0],
        metavar="RATE",
        help="requests per second (default: 1000 2000)",
    )
    parser.add_argument("--duration", type=positive, default=10.0, metavar="S", help="seconds of each (default: 10)")
    parser.add_argument("--bytes", type=count, default=100_000, metavar="N", help="of a body (default: 100000)")
    flags = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(listener,), daemon=True)
        ours = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which the server keeps: Ctrl-C reaches us alone
        try:
            server.start()
        finally:
            signal.signal(signal.SIGINT, ours)
        try:
            for rate in flags.rate:
                target = Target(
                    f"http://127.0.0.1:{listener.getsockname()[1]}/", (Picture("", "image/png", bytes(flags.bytes)),)
                )
                run_loop(_measure(target, rate, flags.duration))
        except KeyboardInterrupt:
            sys.stderr.write("load: interrupted\n")
            return 130
        finally:
            server.terminate()
            server.join()
    return 0


async def _measure(target: Target, rate: float, duration_s: float) -> None:
    arrivals = Arrivals("constant", "", partial(constant, rate), round(NS / rate))
    duration_ns = round((duration_s + WARM_UP_S) * NS)
    plan = Plan(arrivals, duration_ns=duration_ns, warm_up=WarmUp(WARM_UP_S * NS))
    with SystemClock() as clock, contextlib.closing(Recorder()) as recorder:
        async with HttpTransport(target, clock) as transport:
            gc.collect()
            gc.freeze()
            before_kb, waited_ns, began_s = _anonymous_kb(), _waited_ns(), time.process_time()
            run = await Generator(plan, transport, clock, recorder).run()
            cpu_s, waited_ns = time.process_time() - began_s, _waited_ns() - waited_ns
            gc.unfreeze()
        _show(run, rate, cpu_s, waited_ns, before_kb)


def _show(run: Run, rate: float, cpu_s: float, waited_ns: int, before_kb: int) -> None:
    measured = run.samples.measured()
    ok = measured.take(measured.is_ok)
    lags = np.sort(measured.lag_ns[measured.is_sent]) / 1e6
    p50, p99 = (float(np.percentile(lags, q, method="inverted_cdf")) for q in (50, 99))
    seconds = (run.ended_ns - run.measured_from_ns) / NS
    sys.stdout.write(
        f"asked {rate:g}/s, achieved {len(ok) / seconds:.1f}/s, failed {len(measured) - len(ok)}; "
        f"send lag p50 {p50:.3f} ms, p99 {p99:.3f} ms; {cpu_s / len(run.samples) * 1e6:.0f} us of CPU a request, "
        f"{cpu_s / ((run.ended_ns - run.started_ns) / NS):.0%} of a core, "
        f"{waited_ns / (run.ended_ns - run.started_ns):.1%} of the time without one; "
        f"memory {before_kb / 1024:.1f} MiB before, {_anonymous_kb() / 1024:.1f} MiB after\n"
    )


def _waited_ns() -> int:
    """How long this process wanted a core and had none: lag that is the machine's; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/schedstat").read_text().split()[1])
    return 0


def _anonymous_kb() -> int:
    """This process's own memory; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1])
    return 0


if __name__ == "__main__":
    sys.exit(start.run(main))
