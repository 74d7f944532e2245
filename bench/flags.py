"""The command line of a measurement, checked: text in, Settings out. What programs share that measure one address."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.between import Network, add_network_flags, network_of
from bench.errors import BenchError
from bench.load import arrivals
from bench.load.arrivals import NS, Arrivals, WarmUp
from bench.load.generator import Plan
from bench.load.target import (
    DEMO,
    DEMO_URL,
    SAMPLES,
    TOKEN_VARIABLE,
    Target,
    read_pictures,
    read_token,
    request_url,
    tls_context,
)

KINDS = ("constant", "poisson", "closed", "burst", "trace")
MAX_LOOPS = 10_000
N = TypeVar("N", int, float)
NUMBERS = {int: "whole number", float: "number"}


@dataclass(frozen=True)
class Settings:
    """What one run needs to know."""

    target: Target
    plan: Plan
    kind: str
    text: str
    """The arrivals in words."""
    rate: float | None
    connections: int
    keep_alive: bool
    seed: int
    is_demo: bool
    name: str = ""
    between: Network | None = None
    """The network between us and it; None for a direct connection."""


def parser(program: str, description: str) -> argparse.ArgumentParser:
    """The flags that say what is measured and how; docs/reference/bench.md describes each."""
    made = argparse.ArgumentParser(prog=program, description=description, allow_abbrev=False)
    add_target_flags(made)
    _add_schedule_flags(made)
    how = made.add_argument_group("how")
    how.add_argument("--connections", type=natural, metavar="N", help="at most (default: no bound; 1 for closed)")
    add_request_flags(how)
    add_network_flags(made)
    return made


def add_target_flags(made: argparse.ArgumentParser) -> None:
    """Those that `target_of` reads, and the result's name."""
    what = made.add_argument_group("what is measured")
    what.add_argument(
        "--url", default=DEMO_URL, help=f"a gateway, or any address that takes a POST with a path (default: {DEMO_URL})"
    )
    what.add_argument("--model", default="digits", help="for a gateway (default: digits)")
    what.add_argument(
        "--ca-file",
        type=Path,
        metavar="FILE",
        help="CA of the server (default: the demo's for the demo, else the system's)",
    )
    what.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"bearer token (default: ${TOKEN_VARIABLE}; for the demo its own)",
    )
    what.add_argument(
        "--images", type=Path, metavar="FOLDER", default=SAMPLES, help="pictures, sent in turn (default: ten digits)"
    )
    what.add_argument("--answer", choices=("json", "any"), default="json", help="which answers count (default: json)")
    what.add_argument("--name", default="", help="of this result, for the report")


def _add_schedule_flags(made: argparse.ArgumentParser) -> None:
    when = made.add_argument_group("when requests are sent")
    when.add_argument(
        "--rate", type=positive, default=50.0, metavar="RATE", help="requests per second on average (default: 50)"
    )
    when.add_argument(
        "--arrivals",
        nargs="+",
        default=["poisson"],
        metavar=("KIND", "FILE"),
        help=f"{', '.join(KINDS)} FILE (default: poisson)",
    )
    when.add_argument("--burst-size", type=count, default=10, metavar="N", help="requests of a burst (default: 10)")
    when.add_argument(
        "--duration", type=positive, metavar="S", help="seconds after the warm-up (default: 10, none with --count)"
    )
    when.add_argument("--count", type=count, metavar="N", help="requests after the warm-up")
    when.add_argument(
        "--warm-up",
        type=_warm_up,
        default=WarmUp(NS),
        metavar="RULE",
        help="seconds, as 2s, or requests, as 50 (default: 1s)",
    )
    when.add_argument(
        "--seed", type=int, default=1, metavar="N", help="of random arrivals and of the bootstrap (default: 1)"
    )


def add_request_flags(how: argparse._ArgumentGroup, timeout_s: float = 10.0) -> None:
    """What holds for every request of any schedule."""
    how.add_argument(
        "--timeout",
        type=positive,
        default=timeout_s,
        metavar="S",
        help=f"from the intended time (default: {timeout_s:g})",
    )
    how.add_argument("--no-keep-alive", action="store_true", help="a connection for each request")


def settings_of(flags: argparse.Namespace) -> Settings:
    """Reads what the flags name. Raises BenchError."""
    target, is_demo = target_of(flags)
    kind, file = _kind_and_file(flags.arrivals)
    connections = flags.connections if flags.connections is not None else int(kind == "closed")
    schedule = _arrivals(kind, file, flags)
    text = schedule.text if schedule else f"closed loop of {max(1, connections)}"
    return Settings(
        target=target,
        plan=_plan(schedule, connections, flags),
        kind=kind,
        text=text,
        rate=flags.rate if kind in ("constant", "poisson", "burst") else None,
        connections=connections,
        keep_alive=not flags.no_keep_alive,
        seed=flags.seed,
        is_demo=is_demo,
        name=flags.name,
        between=network_of(flags.network, flags.network_seed),
    )


def target_of(flags: argparse.Namespace) -> tuple[Target, bool]:
    """What is measured, and whether that is the demo. Raises BenchError."""
    url = request_url(flags.url, flags.model)
    is_demo = flags.url.rstrip("/") == DEMO_URL
    demo_ca = DEMO / "ca.pem"
    ca = flags.ca_file or (demo_ca if is_demo and demo_ca.exists() else None)
    target = Target(
        url,
        read_pictures(flags.images),
        tls_context(url, ca),
        read_token(flags.token_file, DEMO / "client.token" if is_demo else None),
        wants_json=flags.answer == "json",
    )
    return target, is_demo


def _kind_and_file(words: Sequence[str]) -> tuple[str, Path | None]:
    kind, *files = words
    if kind not in KINDS:
        raise BenchError(f"--arrivals {kind}: one of {', '.join(KINDS)}")
    if len(files) != (kind == "trace"):
        raise BenchError(
            "--arrivals trace takes one FILE" if kind == "trace" else f"--arrivals {kind} takes nothing after it"
        )
    return kind, Path(files[0]) if files else None


def _arrivals(kind: str, file: Path | None, flags: argparse.Namespace) -> Arrivals | None:
    """None for a closed loop. Raises BenchError."""
    rate, seed, size = flags.rate, flags.seed, flags.burst_size
    gap_ns = round(NS / rate)
    if kind == "closed":
        return None
    if file is not None:
        offsets = arrivals.read_trace(file)
        gap_ns = round((offsets[-1] - offsets[0]) / max(1, len(offsets) - 1))
        return Arrivals("trace", f"trace {file.name} of {len(offsets)} requests", lambda: iter(offsets), gap_ns)
    made: dict[str, tuple[str, Callable[[], arrivals.Offsets], int]] = {
        "constant": (f"constant, {rate:g}/s", lambda: arrivals.constant(rate), gap_ns),
        "poisson": (f"Poisson, {rate:g}/s, seed {seed}", lambda: arrivals.poisson(rate, seed), gap_ns),
        "burst": (f"bursts of {size}, {rate:g}/s on average", lambda: arrivals.burst(rate, size), gap_ns * size),
    }
    text, start, mean_gap_ns = made[kind]
    return Arrivals(kind, text, start, mean_gap_ns)


def _plan(schedule: Arrivals | None, connections: int, flags: argparse.Namespace) -> Plan:
    """Adds the warm-up to what was asked for. A trace runs to its end unless told otherwise."""
    warm_up: WarmUp = flags.warm_up
    duration_s = flags.duration
    if duration_s is None and flags.count is None and not (schedule and schedule.kind == "trace"):
        duration_s = 10.0
    if schedule is None and connections > MAX_LOOPS:
        raise BenchError(f"--connections {connections}: a closed loop of at most {MAX_LOOPS}")
    if warm_up.count and duration_s is not None:
        raise BenchError("--warm-up in requests goes with --count; with --duration give seconds, as 2s")
    if warm_up.duration_ns and flags.count is not None:
        # a count says nothing of time: its warm-up is the requests that the rate makes of it
        requests = math.ceil(warm_up.duration_ns / NS * flags.rate)
        warm_up = WarmUp(count=requests)
    return Plan(
        arrivals=schedule,
        closed_loops=0 if schedule else max(1, connections),
        duration_ns=None if duration_s is None else round(duration_s * NS) + warm_up.duration_ns,
        count=None if flags.count is None else flags.count + warm_up.count,
        warm_up=warm_up,
        timeout_ns=round(flags.timeout * NS),
    )


def number_of(text: str, kind: type[N]) -> N:
    """One whose bounds are still to be checked; argparse would name a function where there is no number."""
    try:
        return kind(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a {NUMBERS[kind]}") from error


def positive(text: str) -> float:
    """A number above 0, for argparse."""
    number = number_of(text, float)
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and below 1e9")
    return number


def natural(text: str) -> int:
    """A whole number, 0 or more."""
    number = number_of(text, int)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def count(text: str) -> int:
    """A whole number, 1 or more."""
    number = number_of(text, int)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _warm_up(text: str) -> WarmUp:
    try:
        rule = WarmUp(round(float(text.removesuffix("s")) * NS)) if text.endswith("s") else WarmUp(count=int(text))
    except (ValueError, OverflowError):
        rule = WarmUp(-1)
    if rule.duration_ns < 0 or rule.count < 0:
        raise argparse.ArgumentTypeError(f"{text} is neither seconds, as 2s, nor requests, as 50")
    return rule
