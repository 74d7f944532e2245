"""`gateway classify`: labels of pictures, one line for each, through a gateway that is running somewhere.

Standard output carries the answers alone, in the order given. Exit codes: 0 every picture has an answer, 1 some have
none, 2 nothing could be asked (no picture, no address, no token, no such model); Ctrl-C is __main__.py's. Beside a
`.demo` folder, which `make demo` makes, its CA and token are the defaults for this machine's gateway.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from gateway.auth import MAX_TOKEN_BYTES
from gateway.client import Client, ClientError, Outcome, Result
from gateway.client.aio import CONCURRENCY, DEFAULT_TIMEOUT_S, TOKEN_VARIABLE
from gateway.client.connection import CA_VARIABLE
from gateway.client.pictures import CONTENT_TYPES, Source, name_of
from gateway.files import FileError, read_bounded

GOOD, SOME_FAILED, UNUSABLE = 0, 1, 2
DEMO = Path(".demo")
DEMO_URL = "https://localhost:8443"
URL_VARIABLE = "GATEWAY_ADDRESS"
MAX_STDIN_BYTES = 1 << 30
"""More than any gateway takes; what is piped in by mistake ends somewhere."""


class _Unusable(Exception):
    """Nothing can be asked; the text is for the person."""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `classify` to the program's commands; it sets `run`, which returns the exit code."""
    parser = commands.add_parser(
        "classify",
        help="label pictures through a gateway",
        allow_abbrev=False,  # or `--token SECRET` would be read as --token-file, and shown in its error
        description="Labels of pictures, one line for each.",
        epilog="Exit codes: 0 all have an answer, 1 some have none, 2 nothing could be asked, 130 Ctrl-C.",
    )
    parser.add_argument("picture", nargs="+", metavar="PICTURE", help="files, folders, or - for standard input")
    parser.add_argument("--url", help=f"the gateway (default: ${URL_VARIABLE}, or {DEMO_URL})")
    parser.add_argument(
        "--ca-file", type=Path, metavar="FILE", help=f"its CA (default: ${CA_VARIABLE} or the system's)"
    )
    parser.add_argument("--token-file", type=Path, metavar="FILE", help=f"bearer token (default: ${TOKEN_VARIABLE})")
    parser.add_argument("--model", default="digits", help="default: digits")
    parser.add_argument(
        "--top", type=_whole(1, 1000), default=1, metavar="N", help="labels of a picture, 1 to 1000 (default: 1)"
    )
    parser.add_argument("--query", metavar="NAME", help="a group of the model's labels: yes or no, and how probable")
    parser.add_argument("--timeout", type=_seconds, default=DEFAULT_TIMEOUT_S, metavar="S", help="default: 30.0")
    parser.add_argument(
        "--concurrency", type=_whole(1, 256), default=CONCURRENCY, metavar="N", help="at once (default: 8)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object in each line, with all that is known")
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Asks and prints. Returns the exit code."""
    try:
        with _client(flags) as client:
            return _classify(client, flags)
    except _Unusable as error:
        print(f"gateway: {error}", file=sys.stderr)
        return UNUSABLE


def _classify(client: Client, flags: argparse.Namespace) -> int:
    mine, theirs = itertools.tee(_sources(flags.picture))
    outcomes = client.classify_many(
        (source for _, source in theirs), model=flags.model, top=None if flags.query else flags.top, query=flags.query,
        concurrency=flags.concurrency,
    )  # fmt: skip
    failed = answered = 0
    for (name, _), outcome in zip(mine, outcomes, strict=True):
        if isinstance(outcome, ClientError) and not answered and (outcome.is_final or outcome.is_lost):
            raise _Unusable(f"{flags.url or DEMO_URL}: {outcome}")  # it would meet every picture
        failed += isinstance(outcome, ClientError)
        answered += not isinstance(outcome, ClientError)
        _show(name, outcome, as_json=flags.json)
    return SOME_FAILED if failed else GOOD


def _sources(pictures: Sequence[str]) -> Iterator[tuple[str, Source]]:
    """The name and the source of each, in order; a folder gives its pictures by name. Raises _Unusable."""
    for given in pictures:
        path = Path(given)
        if given == "-":
            yield "-", sys.stdin.buffer.read(MAX_STDIN_BYTES)
        elif path.is_dir():
            found = sorted(one for one in path.rglob("*") if one.suffix.lower() in CONTENT_TYPES and one.is_file())
            if not found:
                raise _Unusable(f"{path} has no picture: no file in it ends in {', '.join(CONTENT_TYPES)}")
            yield from ((name_of(one), one) for one in found)
        else:
            yield given, path


def _show(name: str, outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"file": name, **_members(outcome)}, ensure_ascii=False), flush=True)
    elif isinstance(outcome, ClientError):
        print(_printable(f"{name}: {outcome}"), file=sys.stderr)
    else:
        print("\t".join(map(_printable, [name, *_cells(outcome)])), flush=True)


def _members(outcome: Outcome) -> dict[str, object]:
    if isinstance(outcome, ClientError):
        return {"code": outcome.code, "detail": outcome.detail, "status": outcome.status, "tries": outcome.tries}
    timing = {**asdict(outcome.timing), "network_ms": outcome.timing.network_ms}
    return {**outcome.document, "request_id": outcome.request_id, "tries": outcome.tries, "timing": timing}


def _cells(result: Result) -> Iterator[str]:
    """What a person wants to know first: an answer to the question, or the labels with their probabilities."""
    if result.group is not None:
        yield from ("yes" if result.group.is_yes else "no", f"{result.group.probability:.4f}")
    for one in result.predictions:
        yield one.label
        yield f"{one.probability:.4f}"


def _client(flags: argparse.Namespace) -> Client:
    """Raises _Unusable."""
    url = flags.url or os.environ.get(URL_VARIABLE) or DEMO_URL
    is_demo = url.startswith("https://localhost") and (DEMO / "ca.pem").exists()
    ca = flags.ca_file or (DEMO / "ca.pem" if is_demo and not os.environ.get(CA_VARIABLE) else None)
    token_file = flags.token_file or (DEMO / "client.token" if is_demo and not os.environ.get(TOKEN_VARIABLE) else None)
    try:
        return Client(url, token=None if token_file is None else _token(token_file), ca=ca, timeout_s=flags.timeout)
    except ValueError as error:
        raise _Unusable(str(error)) from error


def _token(file: Path) -> str:
    """Raises _Unusable."""
    try:
        return read_bounded("--token-file", file, MAX_TOKEN_BYTES).decode("ascii").strip()
    except FileError as error:
        raise _Unusable(str(error)) from error
    except UnicodeDecodeError as error:
        raise _Unusable(f"--token-file: {file}: does not hold one token") from error


def _printable(text: str) -> str:
    """Names of files and labels are others' text: nothing in them commands a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0 and at most a day")
    return seconds


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return read
