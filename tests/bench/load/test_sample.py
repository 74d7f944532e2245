"""The record of a run: nothing is lost, memory stays flat, a full disk ends nothing."""

from __future__ import annotations

import io
import tracemalloc
from contextlib import closing

import numpy as np
import pytest

from bench.load.sample import BLOCK_ROWS, MAX_NAMES, MAX_STAGES, OTHER, ROW, Names, Recorder, Sample


def sample(index: int, **fields: object) -> Sample:
    made = Sample(index, 1000 + index, 2000 + index, 3000 + index, 4000 + index, status=200)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_every_field_comes_back() -> None:
    """What went in as a sample is there as columns, names by their numbers, stages in ms and NaN where they were not
    said."""
    recorder = Recorder()
    full = {
        "wait_ns": 5,
        "connect_ns": 6,
        "tls_ns": 7,
        "bytes_out": 8,
        "bytes_in": 9,
        "is_reused": False,
        "request_id": "ab",
    }
    recorder.add(sample(0, worker="w1", stages=[("auth", 0.5), ("total", 2.0)], **full))
    recorder.add(sample(1, reason="timeout", status=0, label="B", stages=[("total", 3.0)], is_warmup=True))
    samples = recorder.samples()
    row = samples.rows[0]
    names = ("index", "t_int", "t_send", "t_first_byte", "t_done", "wait", "connect", "tls", "bytes_out", "bytes_in")
    assert [row[name] for name in names] == [0, 1000, 2000, 3000, 4000, 5, 6, 7, 8, 9]
    assert (row["status"], row["reused"], row["warmup"], row["request_id"]) == (200, False, False, b"ab")
    assert samples.is_ok.tolist() == [True, False]
    assert [samples.reasons[code] for code in samples.rows["reason"]] == ["", "timeout"]
    assert samples.stage_names == ("auth", "total")
    assert samples.stage_ms("total").tolist() == [2, 3]
    assert np.isnan(samples.stage_ms("auth")[1])
    assert (samples.response_ns[0], samples.service_ns[0], samples.lag_ns[0]) == (3000, 2000, 1000)
    assert len(samples.of_worker("w1")) == len(samples.of_label("B")) == 1


def test_blocks_and_order() -> None:
    """Three blocks and a bit, ended in reverse: all are there, in the schedule's order, and once the file is closed
    too."""
    total = 3 * BLOCK_ROWS + 17
    with closing(Recorder()) as recorder:
        for index in reversed(range(total)):
            recorder.add(sample(index))
        assert len(recorder) == total
        samples = recorder.samples()
    assert np.array_equal(samples.column("index"), np.arange(total))
    assert np.array_equal(samples.column("t_done"), 4000 + np.arange(total))
    assert recorder.spill_error == ""


def test_memory_is_flat() -> None:
    """Between 20,000 samples and 60,000 the recorder's memory grows by less than 100 kB, of 10 MB recorded."""
    with closing(Recorder()) as recorder:
        tracemalloc.start()
        try:
            for index in range(20_000):
                recorder.add(sample(index))
            before, _ = tracemalloc.get_traced_memory()
            for index in range(20_000, 60_000):
                recorder.add(sample(index))
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert after - before < 100_000
    assert 40_000 * ROW.itemsize > 5_000_000


class FullDisk(io.FileIO):
    """Takes one block and a half."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "w+")
        self.room = BLOCK_ROWS * ROW.itemsize * 3 // 2

    def write(self, data: object) -> int:
        assert isinstance(data, memoryview)
        if not self.room:
            raise OSError(28, "No space left on device")
        taken = super().write(data[: self.room])
        self.room -= taken
        return taken


def test_a_full_disk_loses_nothing(tmp_path: object) -> None:
    """When the file takes no more, samples stay in memory, and why is said."""
    with closing(Recorder(lambda: FullDisk(f"{tmp_path}/spill"))) as recorder:
        total = 4 * BLOCK_ROWS + 3
        for index in range(total):
            recorder.add(sample(index))
        assert "No space left" in recorder.spill_error
        assert len(recorder) == total
        samples = recorder.samples()
        assert np.array_equal(samples.column("t_int"), 1000 + np.arange(total))


def test_names_are_bounded() -> None:
    """A server that calls itself something else each time costs no memory: from the bound on, all are OTHER."""
    names = Names("", bound=4)
    assert [names.code(name) for name in ("", "a", "b", "c", "d", "e", "a")] == [0, 1, 2, 3, 4, 4, 1]
    assert names.all() == ("", "a", "b", "c", OTHER)
    assert np.iinfo(ROW["worker"]).max > MAX_NAMES


def test_stages_are_bounded() -> None:
    """More stages than there are places are left out, and the others are right."""
    recorder = Recorder()
    recorder.add(sample(0, stages=[(f"s{number}", float(number)) for number in range(MAX_STAGES + 5)]))
    samples = recorder.samples()
    assert samples.stage_names == tuple(f"s{number}" for number in range(MAX_STAGES))
    assert samples.stage_ms(f"s{MAX_STAGES - 1}").tolist() == [MAX_STAGES - 1]


def test_nothing_recorded() -> None:
    """A run that was stopped at once has samples, none of them."""
    samples = Recorder().samples()
    assert len(samples) == len(samples.measured()) == 0


def test_measured_is_a_view() -> None:
    """Dropping the warm-up of a million samples copies none."""
    recorder = Recorder()
    for index in range(10):
        recorder.add(sample(index, is_warmup=index < 3))
    samples = recorder.samples()
    assert np.shares_memory(samples.rows, samples.measured().rows)
    assert samples.measured().column("index").tolist() == list(range(3, 10))


@pytest.mark.parametrize("text", ["é" * 70, "x" * 64])
def test_a_request_id_of_any_kind(text: str) -> None:
    """Whatever a server sends as an id is kept as far as it is ASCII and fits."""
    recorder = Recorder()
    recorder.add(sample(0, request_id=text))
    assert len(recorder.samples().rows["request_id"][0]) == 64
