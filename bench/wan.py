"""`python bench/wan.py`: a relay between two TCP ends that behaves like a network: delay, jitter, rate, stalls, resets,
and with --packets real loss under real TCP.

Put it between client and gateway or between worker and gateway; docs/howto/simulate-a-network.md shows both. It says
at its end how much it added by itself, and --self-test measures that against a direct connection.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

if not __package__:  # started as a file: python looks for modules beside it, and ours begin one folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench import start

if __name__ == "__main__":
    start.loading()

from rich.console import Console

from bench import terminal
from bench.errors import BenchError
from bench.flags import number_of
from bench.load.loop import run_loop
from bench.network.command import Request, stream_relay
from bench.network.jitter import DISTRIBUTIONS
from bench.network.packets import packet_relay
from bench.network.profile import PROFILES, UNLIMITED, Jitter, Profile, Way, in_words, of_json, to_json, with_both_ways
from bench.network.self_test import self_test
from bench.network.tally import Lateness, Tally

GOOD, BAD_INPUT, INTERRUPTED = 0, 2, 130
"""Exit status. Ctrl-C is how a relay ends, and an interruption of the self-test alone."""
MAX_S = 60.0
"""No delay, stall or queue is longer: TCP would have given up."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns the exit status."""
    flags = parser().parse_args(arguments)
    errors = terminal.errors()
    try:
        profile = profile_of(flags)
        if flags.self_test:
            run_loop(self_test(profile, flags.seed, _options(flags), flags.json, terminal.output()))
        else:
            run_loop(_relay(_request(profile, flags), flags))
    except BenchError as error:
        errors.print(f"wan: {error}")
        return BAD_INPUT
    except KeyboardInterrupt:
        if flags.self_test:
            errors.print("wan: interrupted")
            return INTERRUPTED
    return GOOD


def parser() -> argparse.ArgumentParser:
    """The flags; docs/reference/bench-wan.md describes each."""
    made = argparse.ArgumentParser(
        prog="python bench/wan.py", description="A network between two TCP ends, in user space.", allow_abbrev=False
    )
    made.add_argument("--listen", metavar="[HOST:]PORT", default="0", help="default host: 127.0.0.1; port 0: any")
    made.add_argument("--to", metavar="HOST:PORT", help="where each connection leads")
    made.add_argument("--profile", choices=PROFILES, default="lan", help="default: lan")
    made.add_argument("--figures", metavar="JSON", help="a whole profile, as the first line of --json has it")
    made.add_argument("--seed", type=int, default=1, metavar="N", help="of every chance (default: 1)")
    made.add_argument("--packets", action="store_true", help="IP packets through TUN devices: needs root on Linux")
    made.add_argument("--congestion", metavar="NAME", default="", help="with --packets: cubic, bbr, reno ...")
    made.add_argument("--self-test", action="store_true", help="what the relay adds by itself; nothing is relayed")
    made.add_argument("--json", action="store_true", help="one object per line: the start, and the report at the end")
    made.add_argument("--until-eof", action="store_true", help="ends when standard input does")
    change = made.add_argument_group("instead of the profile's figures, both ways")
    change.add_argument("--delay-ms", type=_at_least_0, metavar="MS", help="each way")
    change.add_argument("--jitter-ms", type=_at_least_0, metavar="MS", help="its mean, added to the delay")
    change.add_argument("--distribution", choices=DISTRIBUTIONS, help="of the jitter")
    change.add_argument(
        "--correlation-ms", type=_at_least_0, metavar="MS", help="how long a jitter is remembered; 0: not at all"
    )
    change.add_argument("--rate-mbit", type=_at_least_0, metavar="MBIT", help="per second; 0: no limit")
    change.add_argument(
        "--queue-ms", type=_at_least_0, metavar="MS", help="the router's buffer, in milliseconds of the rate"
    )
    change.add_argument(
        "--loss", type=_share, metavar="SHARE", help="share of packets, from 0 to below 1; only with --packets"
    )
    change.add_argument("--loss-burst", type=_burst, metavar="PACKETS", help="mean length of a run of losses")
    change.add_argument("--stall-every-s", type=_at_least_0, metavar="S", help="mean time between stalls; 0: none")
    change.add_argument("--stall-ms", type=_at_least_0, metavar="MS", help="mean length of a stall")
    change.add_argument(
        "--reset-every-s", type=_at_least_0, metavar="S", help="mean life of a connection; 0: it is not reset"
    )
    return made


def profile_of(flags: argparse.Namespace) -> Profile:
    """The named one with what the flags replace. Raises BenchError."""
    try:
        profile = PROFILES[flags.profile] if flags.figures is None else of_json(flags.figures)
    except ValueError as error:
        raise BenchError(f"--figures: {error}") from error
    if unknown := {profile.up.jitter.distribution, profile.down.jitter.distribution} - DISTRIBUTIONS.keys():
        raise BenchError(f"--figures: no such distribution: {unknown.pop()}")
    given = {
        "delay_s": _seconds(flags.delay_ms),
        "rate_bits_s": None if flags.rate_mbit is None else flags.rate_mbit * 1e6 or UNLIMITED,
        "queue_s": _seconds(flags.queue_ms),
        "loss": flags.loss,
        "loss_burst": flags.loss_burst,
    }
    profile = with_both_ways(profile, **{name: value for name, value in given.items() if value is not None})
    profile = replace(profile, up=_jittered(profile.up, flags), down=_jittered(profile.down, flags))
    whole = {
        "stall_every_s": flags.stall_every_s,
        "stall_s": _seconds(flags.stall_ms),
        "reset_every_s": flags.reset_every_s,
    }
    profile = replace(profile, **{name: value for name, value in whole.items() if value is not None})
    if profile.stall_every_s and not profile.stall_s:
        raise BenchError("--stall-every-s needs --stall-ms")
    if flags.loss and not flags.packets:
        raise BenchError("--loss needs --packets: the bytes of a TCP connection cannot be lost")
    if flags.congestion and not flags.packets:
        raise BenchError("--congestion needs --packets: otherwise there is no TCP on the slow link")
    return profile


def _jittered(way: Way, flags: argparse.Namespace) -> Way:
    jitter: Jitter = way.jitter
    if flags.distribution is not None:
        jitter = replace(jitter, distribution=flags.distribution, shape=0.0)
    if flags.jitter_ms is not None:
        jitter = replace(jitter, mean_s=flags.jitter_ms / 1000)
    if flags.correlation_ms is not None:
        jitter = replace(jitter, correlation_s=flags.correlation_ms / 1000)
    if jitter.mean_s and jitter.distribution == "none":
        raise BenchError(f"--jitter-ms needs --distribution: one of {', '.join(DISTRIBUTIONS)}")
    return replace(way, jitter=jitter)


def _request(profile: Profile, flags: argparse.Namespace) -> Request:
    if flags.to is None:
        raise BenchError("--to HOST:PORT says where connections lead")
    to_host, to_port = _address(flags.to, "--to", "")
    host, port = _address(flags.listen, "--listen", "127.0.0.1")
    if not to_port:
        raise BenchError("--to: port 0 leads nowhere")
    return Request(profile, flags.seed, host, port, to_host, to_port, flags.congestion)


def _options(flags: argparse.Namespace) -> list[str]:
    """What else the relays of a self-test are told."""
    congestion = ["--congestion", flags.congestion] if flags.congestion else []
    return ["--packets", *congestion] if flags.packets else []


async def _relay(request: Request, flags: argparse.Namespace) -> None:
    """Until a signal, or the end of standard input."""
    console, tally, stopped = terminal.plain(), Tally(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    relay = packet_relay if flags.packets else stream_relay
    async with relay(request, tally) as port:
        _say_start(console, request, port, flags)
        if flags.until_eof:
            loop.add_reader(sys.stdin.fileno(), stopped.set)
        await stopped.wait()
        if flags.until_eof:
            loop.remove_reader(sys.stdin.fileno())
    _say_end(console, tally, flags.json)


def _say_start(console: Console, request: Request, port: int, flags: argparse.Namespace) -> None:
    profile = request.profile
    if flags.json:
        said = {
            "port": port,
            "seed": request.seed,
            "is_packets": flags.packets,
            "profile": json.loads(to_json(profile)),
        }
        console.print(json.dumps(said))
    else:
        console.print(f"{request.host}:{port} -> {request.to_host}:{request.to_port}  {profile.name}")
        console.print(f"  up    {in_words(profile.up)}\n  down  {in_words(profile.down)}")
        if (profile.up.loss or profile.down.loss) and not flags.packets:
            console.print("  the profile's loss is left out: it takes --packets")
    sys.stdout.flush()


def _say_end(console: Console, tally: Tally, is_json: bool) -> None:
    if is_json:
        console.print(json.dumps(tally.as_json()))
        return
    console.print(f"{tally.connections} connections, {tally.refused} refused, {tally.resets} reset")
    for name, way in (("up", tally.up), ("down", tally.down)):
        console.print(
            f"  {name:5} {way.bytes} bytes, {way.lost} packets lost, {way.overflowed} dropped by a full queue, "
            f"{way.stalls} stalls; {_in_words(way.lateness)}"
        )


def _in_words(late: Lateness) -> str:
    p50, p99 = late.percentile_us(0.5), late.percentile_us(0.99)
    if p50 is None:
        return "nothing passed"
    return f"late by itself p50 {p50} us, p99 {p99} us, at most {late.max_ns / 1000:g} us"


def _address(text: str, flag: str, host: str) -> tuple[str, int]:
    """Raises BenchError."""
    given, colon, port = text.rpartition(":")
    host = given.strip("[]") if colon else host
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise BenchError(f"{flag} {text}: give {'HOST:PORT' if flag == '--to' else 'PORT or HOST:PORT'}")
    return host, int(port)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _at_least_0(text: str) -> float:
    number = number_of(text, float)
    if not 0 <= number <= MAX_S * 1000:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to {MAX_S * 1000:g}")
    return number


def _share(text: str) -> float:
    number = number_of(text, float)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to below 1")
    return number


def _burst(text: str) -> float:
    number = number_of(text, float)
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to 1000")
    return number


if __name__ == "__main__":
    sys.exit(start.run(main))
