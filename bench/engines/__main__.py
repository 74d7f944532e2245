"""The program: runs the parts one after the other and prints the table. docs/reference/bench-engines.md."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import start

if __name__ == "__main__":
    start.loading()

from bench import terminal
from bench.classification.folder import list_pictures
from bench.engines.parts import PARTS, Settings
from bench.engines.systems import Engine
from bench.engines.table import as_json, markdown
from bench.engines.turns import Turns
from bench.errors import BenchError
from bench.flags import count, positive
from bench.load.target import SAMPLES
from bench.measure.environment import environment
from bench.models import add_model_flags, found_model

GOOD, MISSED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit status: no bar is missed; one is; it could not be measured; Ctrl-C."""
SCHEMA = "edge-bench-engines-2"


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns the exit status."""
    flags = parser().parse_args(arguments)
    errors = terminal.errors()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started is stopped
    try:
        document = _read(flags.show) if flags.show else _measure(flags)
    except BenchError as error:
        errors.print(f"engines: {error}")
        return BAD_INPUT
    except KeyboardInterrupt:
        errors.print("engines: interrupted")
        return INTERRUPTED
    if flags.out:
        flags.out.parent.mkdir(parents=True, exist_ok=True)
        flags.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    terminal.plain().print("\n".join(markdown(document["parts"])))
    is_missed = any(line["verdict"] == "missed" for part in document["parts"] for line in part["lines"])
    return MISSED if is_missed else GOOD


def parser() -> argparse.ArgumentParser:
    """The flags; docs/reference/bench-engines.md describes each."""
    cores = len(os.sched_getaffinity(0))
    made = argparse.ArgumentParser(
        prog="python -m bench.engines", description="What is left of an engine's speed.", allow_abbrev=False
    )
    add_model_flags(made, "digits", "; the bars are for mobilenet_v2")
    made.add_argument("--images", type=Path, default=SAMPLES, metavar="FOLDER", help="default: ten digits")
    made.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="default: all of them")
    made.add_argument("--slots", type=count, default=cores, help=f"on all cores (default: {cores}, the cores)")
    made.add_argument("--threads", type=count, default=1, help="of one inference there (default: 1)")
    made.add_argument("--rounds", type=count, default=18, help="default: 18")
    made.add_argument("--seconds", type=positive, default=1.0, help="of a block (default: 1)")
    made.add_argument("--lag-seconds", type=positive, default=63.0, help="of load for the lag (default: 63)")
    made.add_argument("--seed", type=int, default=1, help="of the order and of the images (default: 1)")
    made.add_argument("--out", type=Path, metavar="FILE", help="the result as JSON")
    made.add_argument("--show", type=Path, metavar="FILE", help="measure nothing: the table of an earlier --out")
    return made


def _measure(flags: argparse.Namespace) -> dict[str, Any]:  # Any: JSON
    """Raises BenchError."""
    images = [picture.path for picture in list_pictures(flags.images)]
    engine = Engine(flags.model, tuple(flags.model_dir), flags.slots, flags.threads)
    found_model(engine.model, engine.model_dirs)
    settings = Settings(engine, Turns(flags.rounds, flags.seconds, flags.seed, images, at_once=4), flags.lag_seconds)
    errors = terminal.errors()
    parts = []
    for name in flags.only:
        errors.print(f"{name} ...")
        began_s = time.monotonic()
        part = PARTS[name](settings)
        part = replace(part, lines=[line.judged_for(flags.model) for line in part.lines])
        parts.append(as_json(part, name, time.monotonic() - began_s))
    return {
        "schema": SCHEMA,
        "model": flags.model,
        "seed": flags.seed,
        "rounds": flags.rounds,
        "block_s": flags.seconds,
        "environment": environment(["python", "-m", "bench.engines", *sys.argv[1:]]),
        "parts": parts,
    }


def _read(file: Path) -> dict[str, Any]:  # Any: JSON
    """Raises BenchError."""
    try:
        document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BenchError(f"{file} is no result: {error}") from error
    if document.get("schema") != SCHEMA:
        raise BenchError(f"{file} is not of schema {SCHEMA!r}")
    return document


if __name__ == "__main__":
    sys.exit(start.run(main))
