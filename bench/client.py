"""`python bench/client.py FOLDER`: classifies the pictures of a folder through a gateway, and says how well and how
fast.

It is a client to copy from: batches as multipart, a bounded number at a time, patient with 429 and 503 as the gateway
asks. It measures images per second as a batch job sees them; latency is bench/test.py's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

if not __package__:  # started as a file: python looks for modules beside it, and ours begin one folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench import start

if __name__ == "__main__":
    start.loading()

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.classification.folder import Picture, batches, list_pictures
from bench.classification.labels import Truth, read_labels
from bench.classification.report import Walk, as_json, lines, show
from bench.classification.run import Run
from bench.classification.score import Result, score
from bench.errors import BenchError
from bench.flags import number_of
from bench.load.loop import run_loop
from bench.load.target import DEMO, DEMO_URL, SAMPLES, TOKEN_VARIABLE, Target, read_token, request_url, tls_context
from gateway.client import AsyncClient, Bounds, ClientError

GOOD, SOME_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit status: every picture has an answer; some have none; the run could not begin; Ctrl-C."""
MAX_CONCURRENCY = 256
MAX_BATCH = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns the exit status."""
    flags = parser().parse_args(arguments)
    console, errors = (
        Console(soft_wrap=True, markup=False, emoji=False),
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False),
    )
    try:
        pictures = list_pictures(flags.folder)
        truths = _truths(flags)
        target = _target(flags)
        return run_loop(_classify(pictures, truths, target, flags, console, errors))
    except BenchError as error:
        errors.print(f"client: {error}")
        return BAD_INPUT
    except KeyboardInterrupt:
        errors.print("client: interrupted before the first request")
        return INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """The flags; docs/reference/bench-client.md describes each."""
    made = argparse.ArgumentParser(
        prog="python bench/client.py", description="Classifies the pictures of a folder.", allow_abbrev=False
    )
    made.add_argument("folder", nargs="?", type=Path, default=SAMPLES, help="of pictures (default: ten digits)")
    made.add_argument("--url", default=DEMO_URL, help=f"the gateway (default: {DEMO_URL}, the demo's)")
    made.add_argument("--model", default="digits", help="default: digits")
    made.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="CA of the gateway (default: the demo's, or the system's)"
    )
    made.add_argument("--token-file", type=Path, metavar="FILE", help=f"bearer token (default: ${TOKEN_VARIABLE})")
    made.add_argument("--labels", type=Path, metavar="FILE", help="CSV: file, and class_index or label")
    made.add_argument(
        "--batch", type=_count(MAX_BATCH), default=64, metavar="N", help="pictures of a request (default: 64)"
    )
    made.add_argument(
        "--concurrency", type=_count(MAX_CONCURRENCY), default=2, metavar="N", help="requests at once (default: 2)"
    )
    made.add_argument(
        "--tries", type=_count(100), default=6, metavar="N", help="of a picture, with the first (default: 6)"
    )
    made.add_argument("--most-wait", type=_seconds, default=60.0, metavar="S", help="before a try (default: 60)")
    made.add_argument("--timeout", type=_seconds, default=120.0, metavar="S", help="of a request (default: 120)")
    made.add_argument("--confusions", type=int, default=10, metavar="N", help="shown at most (default: 10)")
    made.add_argument("--json", action="store_true", help="one object on standard output, and nothing else")
    made.add_argument("--quiet", action="store_true", help="no line for each picture")
    return made


async def _classify(
    pictures: Sequence[Picture],
    truths: Mapping[str, Truth],
    target: Target,
    flags: argparse.Namespace,
    console: Console,
    errors: Console,
) -> int:
    async with _client(target, flags) as client:
        run = Run(client, flags.model, truths, flags.concurrency)
        began_s = time.monotonic()
        with _progress(errors, len(pictures)) as run.on_result:
            was_interrupted = await _go(run, batches(pictures, flags.batch))
        seconds = time.monotonic() - began_s
    if run.final is not None and not run.results:
        raise BenchError(f"{target.url}: {advice(run.final, flags)}")
    _show(run, pictures, seconds, target.url, flags, console)
    if run.final is not None:
        errors.print(f"client: ended early: {target.url}: {advice(run.final, flags)}")
    if was_interrupted:
        return INTERRUPTED
    return GOOD if len(run.results) == len(pictures) and not any(one.reason for one in run.results) else SOME_FAILED


def _client(target: Target, flags: argparse.Namespace) -> AsyncClient:
    """Its tries are bounded by their number: a folder has no deadline."""
    return AsyncClient(
        target.url,
        token=target.token,
        ca=target.tls,
        timeout_s=flags.tries * (flags.timeout + 2 * flags.most_wait),
        try_timeout_s=flags.timeout,
        retry=Bounds(flags.tries, flags.most_wait),
        user_agent="edge-bench",
    )


async def _go(run: Run, ahead: Iterator[list[Picture]]) -> bool:
    """Whether Ctrl-C ended it: what is in flight is dropped, what is there is kept."""
    task = asyncio.create_task(run.go(ahead))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return True
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    return False


@contextlib.contextmanager
def _progress(errors: Console, total: int) -> Iterator[Callable[[Result], None]]:
    """A bar where there is a terminal."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[failed]} failed"), console=errors, transient=True, disable=not errors.is_terminal,
    )  # fmt: skip
    failed = 0
    with bar:
        task = bar.add_task("classifying", total=total, failed=0)

        def add(result: Result) -> None:
            nonlocal failed
            failed += bool(result.reason)
            bar.update(task, advance=1, failed=failed)

        yield add


def _show(
    run: Run, pictures: Sequence[Picture], seconds: float, url: str, flags: argparse.Namespace, console: Console
) -> None:
    over = {result.name for result in run.results}
    walk = Walk(
        url=url,
        pictures=len(pictures),
        results=run.results,
        seconds=seconds,
        sent_bytes=sum(picture.size_bytes for picture in pictures if picture.name in over),
        requests=run.client.patience.requests,
        waited_s=run.client.patience.waited_s,
        score=score(run.results, flags.confusions),
    )
    if flags.json:
        _write([json.dumps(as_json(walk))])
        return
    _write([] if flags.quiet else lines(run.results))
    show(console, walk)


def _write(texts: Iterable[str]) -> None:
    """As they are, for programs to read: rich would turn tabs into spaces."""
    for text in texts:
        sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _truths(flags: argparse.Namespace) -> Mapping[str, Truth]:
    return {} if flags.labels is None else read_labels(flags.labels)


def _target(flags: argparse.Namespace) -> Target:
    """Raises BenchError."""
    url = request_url(flags.url, flags.model)
    is_demo = flags.url.rstrip("/") == DEMO_URL
    demo_ca = DEMO / "ca.pem"
    ca = flags.ca_file or (demo_ca if is_demo and demo_ca.exists() else None)
    token = read_token(flags.token_file, DEMO / "client.token" if is_demo else None)
    return Target(url, (), tls_context(url, ca), token)


def advice(error: ClientError, flags: argparse.Namespace) -> str:
    """What is wrong and what to do, for a person."""
    words = {
        401: "it wants a token: give --token-file FILE, or the token in BENCH_TOKEN",
        403: f"the token is not for the model {flags.model}",
        404: f"no such path or model: is --model {flags.model} served there?",
        405: "nothing takes pictures at this path",
        "dns": "no host has that name",
        "refused": "nothing listens there" + (": start it with make demo" if flags.url == DEMO_URL else ""),
        "tls": "its certificate is not one of this CA, or not for this name: give its CA with --ca-file FILE",
        "not_http": "what listens there does not speak HTTP: is it http or https?",
        "closed": "it closes the connection without an answer: is it http or https?",
        "reset": "it resets the connection: is it http or https?",
        "timeout": f"no answer in {flags.timeout:g} s",
        "cut_off": "its answer breaks off",
    }
    return f"{words.get(error.status) or words.get(error.code, error.code)} ({error.detail or error.code})"


def _count(most: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        number = number_of(text, int)
        if not 1 <= number <= most:
            raise argparse.ArgumentTypeError(f"{text} is not from 1 to {most}")
        return number

    return count


def _seconds(text: str) -> float:
    number = number_of(text, float)
    if not 0 < number <= 86400:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most a day")
    return number


if __name__ == "__main__":
    sys.exit(start.run(main))
