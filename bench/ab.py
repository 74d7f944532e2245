"""`bench/test.py --ab URL_A URL_B`: two systems measured in one run, request by request in turn.

Token and CA of A are those of B only where both are the same host: one system's secret is not another's to see.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console

from bench.between import link_to, network_of
from bench.comparison import arms_of, comparison, only
from bench.errors import BenchError
from bench.flags import Settings, count, settings_of, target_of
from bench.load.arms import ArmTransport, Order
from bench.load.clock import SystemClock
from bench.load.generator import Generator, Run
from bench.load.sample import Recorder
from bench.load.target import DEMO, Target, read_token
from bench.load.transport import HttpTransport
from bench.measure.environment import environment, without_secrets
from bench.measure.summary import Summary, measures_of, summarize
from bench.network.profile import PROFILES
from bench.report.live import Progress
from bench.session import Outcome, about, probe, run_shown

MAX_ARM_NAME = 40
DEMO_TOKEN = DEMO / "client.token"


@dataclass(frozen=True)
class Pair:
    """What an interleaved run needs to know."""

    first: Settings
    """Its plan is that of the run; rate and connections are of both together."""
    second: Settings
    names: tuple[str, str]
    block: int


def add_ab_flags(made: argparse.ArgumentParser) -> None:
    """Those that `pair_of` reads beside the flags of a measurement."""
    two = made.add_argument_group("two systems in one run")
    two.add_argument(
        "--ab", nargs=2, metavar=("URL_A", "URL_B"), help="in the place of --url; --rate is of both together"
    )
    two.add_argument(
        "--ab-names", nargs=2, default=["A", "B"], metavar=("A", "B"), help="for the report (default: A B)"
    )
    two.add_argument(
        "--ab-block",
        type=count,
        default=1,
        metavar="N",
        help="requests in a row to each; a coin says whose (default: 1)",
    )
    two.add_argument(
        "--network-b", choices=PROFILES, metavar="PROFILE", help="before B (default: as A; direct adds nothing)"
    )
    two.add_argument("--model-b", metavar="MODEL", help="of B, a gateway (default: as A)")
    two.add_argument(
        "--ca-file-b", type=Path, metavar="FILE", help="CA of B (default: as A on the same host, else the system's)"
    )
    two.add_argument(
        "--token-file-b", type=Path, metavar="FILE", help="token of B (default: as A on the same host, else none)"
    )


def pair_of(flags: argparse.Namespace) -> Pair | None:
    """None without --ab. Raises BenchError."""
    if flags.ab is None:
        given = [
            name for name in ("model_b", "ca_file_b", "token_file_b", "network_b") if getattr(flags, name) is not None
        ]
        if given:
            raise BenchError(f"--{given[0].replace('_', '-')} goes with --ab URL_A URL_B")
        return None
    name_a, name_b = flags.ab_names
    if name_a == name_b or not name_a or not name_b or max(len(name_a), len(name_b)) > MAX_ARM_NAME:
        raise BenchError(f"--ab-names: two different names of at most {MAX_ARM_NAME} characters")
    url_a, url_b = flags.ab
    first = settings_of(argparse.Namespace(**{**vars(flags), "url": url_a}))
    is_same_host = urlsplit(url_a).hostname == urlsplit(url_b).hostname
    of_b = {"url": url_b, "model": flags.model_b or flags.model}
    of_b["ca_file"] = flags.ca_file_b or (flags.ca_file if is_same_host else None)
    of_b["token_file"] = flags.token_file_b or (flags.token_file if is_same_host else None)
    target, is_demo = target_of(argparse.Namespace(**{**vars(flags), **of_b}))
    if flags.token_file_b is None and not is_same_host:
        # what the environment gave is that of A
        target = replace(target, token=read_token(DEMO_TOKEN) if is_demo and DEMO_TOKEN.exists() else "")
    between = network_of(flags.network_b or flags.network, flags.network_seed)
    second = replace(first, target=target, is_demo=is_demo, between=between)
    return Pair(first, second, (name_a, name_b), flags.ab_block)


async def measure_pair(pair: Pair, console: Console, command: Sequence[str]) -> Outcome:
    """As `measure`; its summary has `arms` and `comparison` as well. Raises BenchError when a first request fails."""
    started = datetime.now(UTC)
    settings = (pair.first, pair.second)
    surroundings = environment(command, [one.target.token for one in settings])
    recorder, order = Recorder(), Order(pair.first.seed, pair.block)
    with SystemClock() as clock, contextlib.closing(recorder):
        async with contextlib.AsyncExitStack() as stack:
            arms, links = [], []
            for name, one in zip(pair.names, settings, strict=True):
                link = await stack.enter_async_context(link_to(one.target, one.between))
                links.append((name, link))
                await _probe(name, one, clock, link.target)
                transport = HttpTransport(
                    link.target, clock, connections=one.connections, keep_alive=one.keep_alive, turn=order.position
                )
                arms.append((name, await stack.enter_async_context(transport)))
            progress = Progress()
            generator = Generator(pair.first.plan, ArmTransport(order, arms), clock, recorder, progress.add)
            run = await run_shown(generator, progress, console, clock)
        networks = [one for name, link in links for one in link.as_json(name)]
        return Outcome(run, partial(pair_summary, pair, run, surroundings, started, networks), recorder.spill_error)


async def _probe(name: str, settings: Settings, clock: SystemClock, target: Target) -> None:
    try:
        await probe(settings, clock, target)
    except BenchError as error:
        raise BenchError(f"{name}: {error}") from error


def _over(settings: Settings) -> str:
    return "" if settings.between is None else f" over {settings.between.profile.name}"


def pair_summary(
    pair: Pair, run: Run, surroundings: dict[str, object], started: datetime, networks: Sequence[Summary] = ()
) -> Summary:
    """Of the whole run, and of each arm by itself."""
    settings = (pair.first, pair.second)
    urls = [without_secrets(one.target.url, [one.target.token]) + _over(one) for one in settings]
    summary = summarize(run, replace(about(pair.first), url=" and ".join(urls)), surroundings, started, networks)
    summary["run"]["block"] = pair.block
    summary["arms"] = [
        {
            "name": name,
            "url": url,
            **measures_of(run, only(run.samples, name, pair.block)[0].measured(), pair.first.seed),
        }
        for name, url in zip(pair.names, urls, strict=True)
        if name in run.samples.labels
    ]
    if len(summary["arms"]) == 2:
        summary["comparison"] = comparison(*arms_of(run.samples, summary))
    return summary
