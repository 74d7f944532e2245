"""The local loop, in a process of its own: images through the bare engine, by as many threads as it has networks.

A line on standard input is one block, `{"images": [FILE, ...], "seconds": S}`; what it gave is a line on standard
output. Between blocks it does nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.classification.folder import list_pictures
from bench.engines.pool import Pool
from bench.engines.window import Step, turned, watched
from bench.load.target import SAMPLES
from edge_worker.backends.huge_pages import use_huge_pages


def main() -> None:
    """Until standard input ends."""
    parser = engine_flags("python -m bench.engines.loop")
    parser.add_argument("--huge-pages", action="store_true", help="the networks' memory lies in such, as a worker's")
    flags = parser.parse_args()
    pool = Pool(flags.model, flags.model_dir, flags.slots, flags.threads)
    if flags.huge_pages:
        digit = list_pictures(SAMPLES)[0].path.read_bytes()
        for _ in range(flags.slots):
            pool.answer(digit)  # a network has no layers in memory before its first picture
        use_huge_pages()
    for line in sys.stdin:
        asked = json.loads(line)
        given = block(pool, flags.slots, list(map(Path, asked["images"])), asked["seconds"])
        sys.stdout.write(json.dumps(given) + "\n")
        sys.stdout.flush()


def engine_flags(program: str) -> argparse.ArgumentParser:
    """What each program around a bare engine is told."""
    made = argparse.ArgumentParser(prog=program)
    made.add_argument("--model", required=True)
    made.add_argument("--model-dir", type=Path, action="append", default=[])
    made.add_argument("--slots", type=int, required=True)
    made.add_argument("--threads", type=int, required=True)
    made.add_argument("--port", type=int, default=0)
    return made


def block(pool: Pool, slots: int, images: list[Path], seconds: float) -> dict[str, float]:
    """As many threads as networks, for so long."""
    bodies = [image.read_bytes() for image in images]

    def step(ahead: Iterator[bytes]) -> Step:
        return lambda: pool.answer(next(ahead))

    seen = watched([step(ahead) for ahead in turned(bodies, slots)], seconds, time.process_time)
    return {"images": seen.count, "elapsed_s": seen.elapsed_s, "cpu_s": seen.after - seen.before}


if __name__ == "__main__":
    main()
