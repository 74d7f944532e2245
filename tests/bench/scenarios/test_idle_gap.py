"""Latency against the worker's rest: who rested for how long, and the schedule."""

from __future__ import annotations

import numpy as np
import pytest

from bench.load.sample import Recorder, Sample, Samples
from bench.scenarios.idle_gap import NS, SCENARIO, by_gap, idle_s, measure, schedule
from tests.support.studies import flags_of, steps_of
from tests.support.virtual_time import KnownServer, VirtualClock


def made(*rows: tuple[float, float, str]) -> Samples:
    """(sent, done, worker), in seconds."""
    recorder = Recorder()
    for index, (sent_s, done_s, worker) in enumerate(rows):
        sent_ns, done_ns = round(sent_s * NS), round(done_s * NS)
        recorder.add(Sample(index, sent_ns, sent_ns, done_ns, done_ns, status=200, worker=worker))
    return recorder.samples()


def test_rest_is_the_worker_s_own() -> None:
    """Of two workers in turn each has rested since its own last answer; the first of each is unknown, and one that was
    sent while its worker worked has no rest."""
    found = idle_s(made((1, 2, "a"), (2, 3, "b"), (5, 6, "a"), (5.5, 7, "a"), (10, 11, "b"), (12, 13, "a")))
    assert np.isnan(found).tolist() == [True, True, False, True, False, False]
    assert found[~np.isnan(found)].tolist() == [3, 7, 5]


def test_every_gap_once_a_round() -> None:
    """Three rounds of three gaps: in each round all of them, in an order of the seed."""
    offsets = schedule((0.1, 1, 10), 3, seed=7)
    gaps = (np.diff(offsets) / NS).tolist()
    assert [sorted(gaps[start : start + 3]) for start in (0, 3, 6)] == [[0.1, 1, 10]] * 3
    assert offsets == schedule((0.1, 1, 10), 3, seed=7)
    assert offsets != schedule((0.1, 1, 10), 3, seed=8)


def test_a_rest_counts_for_the_nearest_gap() -> None:
    """Between gaps of 1 and 9 s the border is 3: rests of 2.9 s are of the first, of 3.1 s of the second."""
    rows: list[tuple[float, float, str]] = [(0, 1, "a")]
    for rest_s, took_s in [(2.9, 0.01), (3.1, 0.02)] * 6:
        sent_s = rows[-1][1] + rest_s
        rows.append((sent_s, sent_s + took_s, "a"))
    first, second = by_gap(made(*rows), (9, 1))
    assert (first["gap_s"], first["n"], first["median_ms"]) == (1, 6, pytest.approx(10))
    assert (second["gap_s"], second["n"], second["median_ms"]) == (9, 6, pytest.approx(20))


async def test_a_worker_that_wakes_slowly_is_seen() -> None:
    """20 ms, and 92 after a rest of 10 s: the ratio is 4.6 there and 1 elsewhere."""
    flags = flags_of(SCENARIO, "--gaps", "0.1", "1", "10", "--rounds", "12")
    gaps = np.diff(schedule(flags.gaps, flags.rounds, flags.seed)) / NS

    class Sleepy(KnownServer):
        async def send(self, sample: Sample, deadline_ns: int) -> None:
            await super().send(sample, deadline_ns)
            sample.worker = "a"

    def server(clock: VirtualClock, _settings: object) -> KnownServer:
        return Sleepy(clock, lambda index: 92 if index and gaps[index - 1] == 10 else 20)

    found = SCENARIO.findings(await steps_of(measure, flags, server), flags)
    rows = found.values["gaps"]
    assert [row["n"] for row in rows] == [12, 12, 12]
    assert [row["ratio"] for row in rows] == pytest.approx([1, 1, 4.6])
    assert any("probe_idle_s" in note for note in found.notes)


def test_too_few_rounds() -> None:
    """Fewer than six rests of a kind have no median with an interval, and the rest no ratio."""
    assert by_gap(made((0, 1, "a"), (2, 3, "a")), (1,))[0]["median_ms"] is None
    assert not SCENARIO.findings([], flags_of(SCENARIO)).is_answered
