"""What `edge-worker local` adds to the bare engine: the same images through both, in turns, as a ratio.

    .venv/bin/python bench/local_cost.py --model mobilenet_v2 --model-dir models photographs/*.jpg

Bare is a file's reading, decode, preprocess, inference and postprocess, called one after the other. Both have a network
of their own and the same number of threads. They alternate round by round over all the images, so that a busy machine
disturbs both alike and each has the caches to itself for a while; what is reported is the median of the rounds' ratios.
On a machine with more to do than it has cores, the wall time has waits for a core in it; the CPU time is then the
better of the two.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import start

if __name__ == "__main__":
    start.loading()

from bench import terminal
from bench.errors import BenchError
from bench.flags import count
from bench.load.loop import run_loop
from bench.models import add_model_flags, found_model
from edge_worker.backends.answers import to_answer
from edge_worker.backends.factory import open_backend
from edge_worker.backends.image import decode_image
from edge_worker.backends.opencv_dnn import OpenCVLoader
from edge_worker.backends.preprocess import to_batch, to_probabilities
from edge_worker.backends.question import Labels, Question
from edge_worker.backends.settings import DEFAULT_MAX_PIXELS as MAX_PIXELS
from edge_worker.backends.settings import BackendSettings
from edge_worker.config import LocalConfig
from edge_worker.local import Classifier
from edge_worker.models.registry import read_verified

GOOD, BAD_INPUT, INTERRUPTED = 0, 2, 130
"""Exit status."""


class Cost(NamedTuple):
    """Of one round, or a moment."""

    wall_s: float
    cpu_s: float
    """Of all threads of this process."""


class Pair(NamedTuple):
    """One round, both ways."""

    bare: Cost
    local: Cost


def bare(model: str, model_dirs: Sequence[Path], top: int) -> Callable[[bytes], bytes]:
    """One image's answer, with nothing around the engine."""
    found = found_model(model, model_dirs)
    spec = found.spec
    assert spec is not None
    engine = OpenCVLoader().load(spec, read_verified(found))
    question = Question(Labels(top))

    def answer(image: bytes) -> bytes:
        pixels = decode_image(image, MAX_PIXELS, least=(spec.input.width, spec.input.height))
        rows = to_probabilities(engine.predict(to_batch(pixels, spec.input)), spec.output.softmax)
        return to_answer(rows, question, spec, found.labels).body

    return answer


async def measure(model: str, settings: BackendSettings, images: Sequence[Path], rounds: int) -> list[Pair]:
    """One pair for each round, the two in changing order. Raises BenchError for a model or a file that is no good."""
    try:
        backend = open_backend("opencv_dnn", settings)
    except ValueError as error:
        raise BenchError(str(error)) from error
    answer = bare(model, settings.model_dirs, top=1)
    (served,) = (one for one in await backend.start() if one.name == model)
    config = LocalConfig(model, tuple(images), 1, 1, 1, False, "opencv_dnn", settings, 1 << 26)
    pairs = []
    for number in range(rounds):
        before = _bare_cost(answer, images) if number % 2 else None
        began = _now()
        run = await Classifier(backend, config).run(served)
        local = _since(began)
        if failed := [f"{one.file}: {one.error}" for one in run.files if one.error]:
            raise BenchError("; ".join(failed))
        pairs.append(Pair(before or _bare_cost(answer, images), local))
    await backend.close()
    return pairs


def _now() -> Cost:
    return Cost(time.perf_counter(), time.process_time())


def _since(began: Cost) -> Cost:
    now = _now()
    return Cost(now.wall_s - began.wall_s, now.cpu_s - began.cpu_s)


def _bare_cost(answer: Callable[[bytes], bytes], images: Sequence[Path]) -> Cost:
    began = _now()
    for image in images:
        answer(image.read_bytes())
    return _since(began)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the medians, and what local adds. Returns the exit status."""
    flags = _parser().parse_args(arguments)
    settings = BackendSettings(threads=flags.threads, model_dirs=tuple(flags.model_dir))
    try:
        pairs = run_loop(measure(flags.model, settings, flags.images, flags.rounds))
    except BenchError as error:
        terminal.errors().print(f"local_cost: {error}")
        return BAD_INPUT
    except KeyboardInterrupt:
        terminal.errors().print("local_cost: interrupted")
        return INTERRUPTED
    _show(pairs, flags)
    return GOOD


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python bench/local_cost.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_flags(parser, "digits")
    parser.add_argument("--threads", type=count, default=1, metavar="N", help="of one inference (default: 1)")
    parser.add_argument("--rounds", type=count, default=10, metavar="N", help="of both (default: 10)")
    parser.add_argument("images", metavar="IMAGE", nargs="+", type=Path)
    return parser


def _show(pairs: Sequence[Pair], flags: argparse.Namespace) -> None:
    images, load = len(flags.images), os.getloadavg()[0]
    print(
        f"{flags.rounds} rounds of {images} images, {flags.model}, {flags.threads} thread(s); "
        f"{os.cpu_count()} cores, load {load:.1f}"
    )
    for at, name in enumerate(("wall", "CPU")):
        bare_s = statistics.median(pair.bare[at] for pair in pairs) / images
        added = sorted(pair.local[at] / pair.bare[at] - 1 for pair in pairs)
        middle = statistics.median(added)
        print(
            f"{name}: bare {bare_s * 1e3:.3f} ms an image; local adds {middle:.2%} ({added[0]:.2%} to {added[-1]:.2%})"
        )


if __name__ == "__main__":
    sys.exit(start.run(main))
