"""Samples as a test wants them, without a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.load.sample import Recorder, Sample, Samples

MS = 1_000_000
START_NS = 5_000 * MS


def made(
    response_ms: Iterable[float], *, gap_ms: float = 10, stages: Sequence[tuple[str, float]] = (), **fields: object
) -> Samples:
    """One success each: intended every `gap_ms`, sent 1 ms late, its first byte 1 ms before its end. `fields` are of
    Sample; at most BLOCK_ROWS of them."""
    recorder = Recorder()
    for index, response in enumerate(response_ms):
        t_int_ns = START_NS + round(index * gap_ms * MS)
        done_ns = t_int_ns + round(response * MS)
        sample = Sample(index, t_int_ns, t_int_ns + MS, done_ns - MS, done_ns, status=200, stages=stages)
        for name, value in fields.items():
            setattr(sample, name, value)
        recorder.add(sample)
    return recorder.samples()
