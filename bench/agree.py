"""`python bench/agree.py FOLDER`: asks two workers about every picture of a folder, and says how far their answers are
apart: whether one may stand in for the other.

A side is a gateway, one worker of a gateway, or a worker that listens by itself; both are asked for every class in the
same way. It says nothing of speed (bench/test.py does), nor of which of the two is right (bench/client.py --labels).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

if not __package__:  # started as a file: python looks for modules beside it, and ours begin one folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench import start

if __name__ == "__main__":
    start.loading()

from bench import terminal
from bench.agreement import Agreement
from bench.classification.folder import list_pictures
from bench.errors import BenchError
from bench.flags import positive
from bench.load.loop import run_loop
from bench.load.target import DEMO, DEMO_URL, SAMPLES, TOKEN_VARIABLE, read_token, request_url, tls_context
from gateway.client import AsyncClient, ClientError, Outcome

T = TypeVar("T")

AGREED, APART, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit status: no difference over the limit; one, or a picture without an answer; it could not begin; Ctrl-C."""
LIMIT = 1e-4
"""Of a probability: what two engines differ by that add the same numbers in another order, with room to spare."""
TOP = 1000
"""Classes asked for: as many as a gateway allows (docs/reference/http.md)."""
CONCURRENCY = 2
"""Pictures at once: one is on its way while another is computed."""
SIDES = ("url", "model", "worker", "ca_file", "token_file")
"""Flags with a value for both sides, or one for each."""


@dataclass(frozen=True)
class Side:
    """One of the two."""

    name: str
    url: str
    model: str
    worker: str | None
    """None: any worker."""
    ca_file: Path | None
    token: str = field(repr=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns the exit status."""
    flags = parser().parse_args(arguments)
    try:
        agreement = run_loop(_ask(flags))
    except BenchError as error:
        terminal.errors().print(f"agree: {error}")
        return BAD_INPUT
    except KeyboardInterrupt:
        terminal.errors().print("agree: interrupted")
        return INTERRUPTED
    said = json.dumps(agreement.as_json()) if flags.json else "\n".join(lines(agreement, flags.worst))
    terminal.plain().print(said)
    return AGREED if agreement.holds else APART


def parser() -> argparse.ArgumentParser:
    """The flags; docs/reference/bench-agree.md describes each."""
    made = argparse.ArgumentParser(
        prog="python bench/agree.py", description="Compares two workers' answers.", allow_abbrev=False
    )
    made.add_argument("folder", nargs="?", type=Path, default=SAMPLES, help="of pictures (default: ten digits)")
    two = made.add_argument_group("the two sides: one value for both, or one for each")
    two.add_argument("--url", nargs="+", default=[DEMO_URL], help=f"gateways or workers (default: {DEMO_URL})")
    two.add_argument("--model", nargs="+", default=["digits"], help="default: digits")
    two.add_argument("--worker", nargs="+", default=[None], metavar="NAME", help="of a gateway with the policy pin")
    two.add_argument(
        "--ca-file", nargs="+", type=Path, default=[None], metavar="FILE", help="CA (default: the system's)"
    )
    two.add_argument(
        "--token-file",
        nargs="+",
        type=Path,
        default=[None],
        metavar="FILE",
        help=f"bearer token (default: ${TOKEN_VARIABLE})",
    )
    made.add_argument(
        "--limit", type=positive, default=LIMIT, metavar="SHARE", help=f"of a probability (default: {LIMIT:g})"
    )
    made.add_argument("--worst", type=int, default=5, metavar="N", help="pictures shown (default: 5)")
    made.add_argument("--timeout", type=positive, default=60.0, metavar="S", help="of a picture (default: 60)")
    made.add_argument("--json", action="store_true", help="one object on standard output, and nothing else")
    return made


async def _ask(flags: argparse.Namespace) -> Agreement:
    """Raises BenchError."""
    sides = sides_of(flags)
    pictures = list_pictures(flags.folder)
    paths = [picture.path for picture in pictures]
    agreement = Agreement(flags.limit, (sides[0].name, sides[1].name))
    async with _client(sides[0], flags.timeout) as first, _client(sides[1], flags.timeout) as second:
        streams = [
            client.classify_many(paths, model=side.model, top=TOP, concurrency=CONCURRENCY)
            for client, side in zip((first, second), sides, strict=True)
        ]
        async with contextlib.aclosing(streams[0]), contextlib.aclosing(streams[1]):
            for picture in pictures:
                one, other = await asyncio.gather(*(anext(stream) for stream in streams))
                _refuse_what_is_final(sides, one, other)
                agreement.add(picture.name, one, other)
    return agreement


def _refuse_what_is_final(sides: Sequence[Side], *outcomes: Outcome) -> None:
    """Raises BenchError for a failure that every other picture would meet too."""
    for side, outcome in zip(sides, outcomes, strict=True):
        if isinstance(outcome, ClientError) and (outcome.is_final or outcome.code == "refused"):
            raise BenchError(f"{side.name}: {outcome}")


def _client(side: Side, timeout_s: float) -> AsyncClient:
    return AsyncClient(
        side.url,
        token=side.token,
        ca=tls_context(request_url(side.url, side.model), side.ca_file),
        worker=side.worker,
        timeout_s=timeout_s,
        user_agent="edge-bench",
    )


def sides_of(flags: argparse.Namespace) -> tuple[Side, Side]:
    """Both. Raises BenchError."""
    named = {name: _two(f"--{name.replace('_', '-')}", getattr(flags, name)) for name in SIDES}
    given = [tuple(values[place] for values in named.values()) for place in (0, 1)]
    if given[0] == given[1]:
        raise BenchError("there is one side only: give two values of --url, --model or --worker")
    first, second = (_side(*one) for one in given)
    return first, second


def _two(flag: str, values: Sequence[T]) -> tuple[T, T]:
    if len(values) > 2:
        raise BenchError(f"{flag}: one value for both sides, or two; not {len(values)}")
    return values[0], values[-1]


def _side(url: str, model: str, worker: str | None, ca: Path | None, token_file: Path | None) -> Side:
    """Raises BenchError. The demo has a CA and a token of its own."""
    is_demo = url.rstrip("/") == DEMO_URL
    demo_ca = DEMO / "ca.pem"
    token = read_token(token_file, DEMO / "client.token" if is_demo else None)
    name = " ".join(filter(None, [url, model, worker]))
    return Side(name, url, model, worker, ca or (demo_ca if is_demo and demo_ca.exists() else None), token)


def lines(agreement: Agreement, worst: int) -> Iterator[str]:
    """For people."""
    for place, name in enumerate(agreement.names):
        workers = ", ".join(sorted(agreement.workers[place]))
        yield f"{'AB'[place]}: {name}{f', answered by {workers}' if workers else ''}"
    if agreement.weights:
        yield f"weights: {', '.join(sorted(agreement.weights))}"
    count = agreement.compared
    yield f"largest difference of a probability: {agreement.largest:.2e} (limit {agreement.limit:g})"
    yield f"the same first label: {agreement.same} of {count}; over the limit: {agreement.over}"
    for one in agreement.worst[:worst]:
        tops = one.tops[0] if one.is_same else f"{one.tops[0]} | {one.tops[1]}"
        yield f"  {one.difference:.2e}  {one.file}  by {one.label!r}; first: {tops}"
    if agreement.failed:
        yield f"without an answer from both: {agreement.failed}"
        yield from (f"  {one.file}: {one.side}: {one.reason}" for one in agreement.failures[:worst])


if __name__ == "__main__":
    sys.exit(start.run(main))
