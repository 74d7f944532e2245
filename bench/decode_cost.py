"""What decoding a large JPEG at a part of its size saves: 12 megapixels to a network's input, both ways, as a ratio.

    .venv/bin/python -m bench.decode_cost --model-dir models photographs/*.jpg

Each image is enlarged to 4000x3000 and written as a JPEG again. `full` decodes every pixel and resizes; `reduced` is
the worker's own way. They alternate image by image on one thread, and CPU time is what counts; the network then says
whether both see the same in it. Nothing is written to a file.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import start

if __name__ == "__main__":
    start.loading()

import cv2
import numpy as np

from bench import terminal
from bench.errors import BenchError
from bench.flags import count
from bench.models import add_model_flags, found_model
from edge_worker.backends.engine import Engine
from edge_worker.backends.image import decode_image
from edge_worker.backends.opencv_dnn import OpenCVLoader
from edge_worker.backends.preprocess import Batch, to_batch
from edge_worker.models.registry import read_verified
from edge_worker.models.spec import InputSpec

SIZE = (4000, 3000)
"""12 megapixels, as phones take them."""
QUALITY = 90
"""Of the JPEG; the better it is, the more of the time is what both ways share."""
MAX_PIXELS = SIZE[0] * SIZE[1]
GOOD, BAD_INPUT, INTERRUPTED = 0, 2, 130
"""Exit status."""

Way = Callable[[bytes], Batch]


class Decoded(NamedTuple):
    """One image, both ways."""

    full_s: float
    reduced_s: float
    """CPU time of this process, the least of all rounds."""
    is_same: bool
    """Whether the network's likeliest class is the same."""

    @property
    def ratio(self) -> float:
        return self.reduced_s / self.full_s


def enlarged(image: bytes) -> bytes:
    """The image as a JPEG of SIZE. Raises ValueError for what is none."""
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError("one of the files is no image that can be read")
    large = cv2.resize(pixels, SIZE, interpolation=cv2.INTER_LINEAR)
    return cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def full_way(spec: InputSpec) -> Way:
    """Every pixel is decoded."""
    return lambda jpeg: to_batch(decode_image(jpeg, MAX_PIXELS), spec)


def reduced_way(spec: InputSpec) -> Way:
    """As the worker does it."""
    return lambda jpeg: to_batch(decode_image(jpeg, MAX_PIXELS, least=(spec.width, spec.height)), spec)


def measure(images: Sequence[bytes], spec: InputSpec, engine: Engine, rounds: int) -> list[Decoded]:
    """Both ways for each image."""
    return [_one(enlarged(image), full_way(spec), reduced_way(spec), engine, rounds) for image in images]


def _one(jpeg: bytes, full: Way, reduced: Way, engine: Engine, rounds: int) -> Decoded:
    pairs = [(_cpu_s(full, jpeg), _cpu_s(reduced, jpeg)) for _ in range(rounds)]
    full_s, reduced_s = (min(times) for times in zip(*pairs, strict=True))
    tops = [int(np.argmax(engine.predict(way(jpeg)))) for way in (full, reduced)]
    return Decoded(full_s, reduced_s, tops[0] == tops[1])


def _cpu_s(way: Way, jpeg: bytes) -> float:
    began = time.process_time()
    way(jpeg)
    return time.process_time() - began


def summary(results: Sequence[Decoded], model: str) -> list[str]:
    """Medians, the largest ratio, and how many are answered alike."""
    full_ms, reduced_ms, ratio = map(
        statistics.median,
        zip(*[(one.full_s * 1e3, one.reduced_s * 1e3, one.ratio) for one in results], strict=True),
    )
    most, same = max(one.ratio for one in results), sum(one.is_same for one in results)
    return [
        f"{len(results)} JPEGs of {SIZE[0]}x{SIZE[1]}, quality {QUALITY}, to the input of {model}; 1 thread",
        f"CPU: full {full_ms:.1f} ms, reduced {reduced_ms:.1f} ms; ratio {ratio:.3f}, at most {most:.3f}",
        f"same top-1: {same} of {len(results)}",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the summary. Returns the exit status."""
    flags = _parser().parse_args(arguments)
    try:
        lines = summary(_decoded(flags), flags.model)
    except (BenchError, ValueError) as error:
        terminal.errors().print(f"decode_cost: {error}")
        return BAD_INPUT
    except OSError as error:
        terminal.errors().print(f"decode_cost: cannot read {error.filename}: {error.strerror}")
        return BAD_INPUT
    except KeyboardInterrupt:
        terminal.errors().print("decode_cost: interrupted")
        return INTERRUPTED
    terminal.plain().print("\n".join(lines))
    return GOOD


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.decode_cost", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_flags(parser, "mobilenet_v2")
    parser.add_argument("--rounds", type=count, default=3, metavar="N", help="over all images (default: 3)")
    parser.add_argument("images", metavar="IMAGE", nargs="+", type=Path)
    return parser


def _decoded(flags: argparse.Namespace) -> list[Decoded]:
    """Raises BenchError, OSError and ValueError for a model or an image that is no good."""
    found = found_model(flags.model, flags.model_dir)
    assert found.spec is not None
    loader = OpenCVLoader()
    loader.prepare(threads=1)
    engine = loader.load(found.spec, read_verified(found))
    return measure([image.read_bytes() for image in flags.images], found.spec.input, engine, flags.rounds)


if __name__ == "__main__":
    sys.exit(start.run(main))
