"""One request's record, and a run's worth of them by column. The schema here is a contract.

A sample is written once, when its request is over, into a small block of rows; full blocks go to an unnamed file. So
memory stays flat over millions of samples, and all of them can still be read as columns at the end. Refuses to sum
anything up.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO, cast

import numpy as np
import numpy.typing as npt

MAX_STAGES = 24
"""Different names of stages in one run: a gateway sends 11, a worker may add up to 16; more are not kept."""
MAX_NAMES = 4096
"""Different reasons, workers or labels in one run; any further one is recorded as OTHER."""
MAX_WEIGHTS = 8
"""Different things that answers say of a model's weights: one for each arm of a run."""
OTHER = "(other)"
BLOCK_ROWS = 1024
"""Rows held in memory: a quarter of a megabyte, written in less than a tenth of a millisecond."""

NOT_SENT = "not_sent"
"""The reason of a request whose time had come and that was never sent: it has t_int and t_done only."""
INTERRUPTED = "interrupted"
"""The reason of a request that was cut off because the run was ended."""

ROW = np.dtype(
    [
        ("index", "i8"),  # place in the schedule, from 0
        ("t_int", "i8"),  # ns, monotonic: when it should have been sent
        (
            "t_send",
            "i8",
        ),  # ns: its first byte, or that of the connection made for it, was handed to the socket; 0: never
        ("t_first_byte", "i8"),  # ns: the answer's head was here; 0: never
        ("t_done", "i8"),  # ns: the answer's last byte was here, or it failed
        ("wait", "i8"),  # ns of t_send - t_int spent waiting for one of the connections
        ("connect", "i8"),  # ns: name and TCP, 0 on a connection that was there
        ("tls", "i8"),  # ns: handshake, 0 without
        ("bytes_out", "i8"),  # body sent
        ("bytes_in", "i8"),  # body received
        ("status", "u2"),  # HTTP, 0 without an answer
        ("reason", "u2"),  # index into Samples.reasons; 0 is '', a success
        ("worker", "u2"),  # index into Samples.workers; 0 is '', not said
        ("label", "u2"),  # index into Samples.labels; 0 is '', a run with one arm
        ("reused", "?"),  # sent on a connection that was there
        ("warmup", "?"),  # dropped from every measure
        ("request_id", "S64"),  # as the server names it in its log
        ("stages", "f4", (MAX_STAGES,)),  # ms by index into Samples.stage_names, NaN: not said
    ]
)

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Sample:
    """What is known of one request; a Transport fills in what the generator did not. Fields as in ROW."""

    index: int
    t_int_ns: int
    t_send_ns: int = 0
    t_first_byte_ns: int = 0
    t_done_ns: int = 0
    wait_ns: int = 0
    connect_ns: int = 0
    tls_ns: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    status: int = 0
    reason: str = ""
    worker: str = ""
    label: str = ""
    is_reused: bool = True
    is_warmup: bool = False
    request_id: str = ""
    weights: str = ""
    """What the answer says of the model's, such as `random`; '' if nothing. Kept once for a run, not in ROW."""
    stages: Sequence[tuple[str, float]] = field(default=())
    """(name, milliseconds), as the server says."""


class Names:
    """Strings as small numbers, in the order in which they were first seen."""

    def __init__(self, *first: str, bound: int = MAX_NAMES) -> None:
        self._codes = {name: code for code, name in enumerate(first)}
        self._bound = bound

    def code(self, name: str) -> int:
        """The number of this name, or of OTHER when there are too many."""
        known = self._codes.get(name)
        if known is not None:
            return known
        if len(self._codes) >= self._bound:
            name = OTHER
        return self._codes.setdefault(name, len(self._codes))

    def all(self) -> tuple[str, ...]:
        """Every name; the place of each is its number."""
        return tuple(self._codes)


@dataclass(frozen=True)
class Samples:
    """The samples of a run in the order of their schedule. `rows` may lie in a file; columns are arrays of it."""

    rows: npt.NDArray[np.void]
    reasons: tuple[str, ...]
    workers: tuple[str, ...]
    labels: tuple[str, ...]
    stage_names: tuple[str, ...]
    weights: tuple[str, ...] = ()
    """What answers of the whole run said of the model's weights; not known of a part of it."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def is_ok(self) -> Bools:
        """Which have an answer that counts."""
        return np.asarray(self.rows["reason"] == 0)

    @property
    def is_sent(self) -> Bools:
        """Which were handed to the socket."""
        return np.asarray(self.rows["t_send"] > 0)

    @property
    def response_ns(self) -> Ints:
        """R = t_done - t_int."""
        return self.column("t_done") - self.column("t_int")

    @property
    def service_ns(self) -> Ints:
        """S = t_done - t_send; meaningless where not `is_sent`."""
        return self.column("t_done") - self.column("t_send")

    @property
    def lag_ns(self) -> Ints:
        """G = t_send - t_int; meaningless where not `is_sent`."""
        return self.column("t_send") - self.column("t_int")

    def column(self, name: str) -> Ints:
        """An integer column of ROW, in memory."""
        return np.asarray(self.rows[name], dtype=np.int64)

    def stage_ms(self, name: str) -> Floats:
        """One stage's milliseconds, NaN where it was not said."""
        return np.asarray(self.rows["stages"][:, self.stage_names.index(name)], dtype=np.float64)

    def take(self, mask: Bools) -> Samples:
        """Those of a mask; without a copy where it is all of them."""
        if mask.all():
            return self
        return Samples(self.rows[mask], self.reasons, self.workers, self.labels, self.stage_names)

    def measured(self) -> Samples:
        """Without the warm-up, which comes first: a view, no copy."""
        first = int(np.count_nonzero(self.rows["warmup"]))
        return Samples(self.rows[first:], self.reasons, self.workers, self.labels, self.stage_names)

    def of_worker(self, name: str) -> Samples:
        """Those that this worker answered."""
        return self.take(np.asarray(self.rows["worker"] == self.workers.index(name)))

    def of_label(self, name: str) -> Samples:
        """Those of one arm."""
        return self.take(np.asarray(self.rows["label"] == self.labels.index(name)))


def _unnamed_file() -> IO[bytes]:
    return cast("IO[bytes]", tempfile.TemporaryFile(buffering=0))


class Recorder:
    """Takes samples as their requests end. When its file cannot be written (a full disk), it goes on in memory.

    Close it after the last `samples`, if there may be more than BLOCK_ROWS.
    """

    def __init__(self, open_spill: Callable[[], IO[bytes]] = _unnamed_file) -> None:
        """`open_spill`: makes the unbuffered file for full blocks, when the first one is."""
        self._open_spill = open_spill
        self._spill: IO[bytes] | None = None
        self._block = np.zeros(BLOCK_ROWS, ROW)
        self._used = 0
        self._spilled = 0
        self._kept: list[npt.NDArray[np.void]] = []
        self._reasons, self._workers, self._labels = Names(""), Names(""), Names("")
        self._weights = Names(bound=MAX_WEIGHTS)
        self._stages = Names(bound=MAX_STAGES)
        self.spill_error = ""
        """Why samples are held in memory, if they are."""

    def __len__(self) -> int:
        return self._spilled + BLOCK_ROWS * len(self._kept) + self._used

    def add(self, sample: Sample) -> None:
        """Records one request that is over."""
        stages = [np.nan] * MAX_STAGES
        for name, duration_ms in sample.stages:
            code = self._stages.code(name)
            if code < MAX_STAGES:
                stages[code] = duration_ms
        if sample.weights:
            self._weights.code(f"{sample.label}: {sample.weights}" if sample.label else sample.weights)
        self._block[self._used] = (
            sample.index,
            sample.t_int_ns,
            sample.t_send_ns,
            sample.t_first_byte_ns,
            sample.t_done_ns,
            sample.wait_ns,
            sample.connect_ns,
            sample.tls_ns,
            sample.bytes_out,
            sample.bytes_in,
            sample.status,
            self._reasons.code(sample.reason),
            self._workers.code(sample.worker),
            self._labels.code(sample.label),
            sample.is_reused,
            sample.is_warmup,
            sample.request_id.encode("ascii", "replace"),
            stages,
        )
        self._used += 1
        if self._used == BLOCK_ROWS:
            self._empty_block()

    def samples(self) -> Samples:
        """Everything so far, in the order of the schedule."""
        parts = [*self._kept, self._block[: self._used]]
        if self._spill is not None and self._spilled:
            parts.insert(0, np.memmap(self._spill, ROW, "r", shape=(self._spilled,)))
        rows = _in_order(parts)
        return Samples(
            rows,
            self._reasons.all(),
            self._workers.all(),
            self._labels.all(),
            self._stages.all()[:MAX_STAGES],
            self._weights.all(),
        )

    def close(self) -> None:
        """Lets go of the file; samples that were taken before stay readable."""
        if self._spill is not None:
            self._spill.close()

    def _empty_block(self) -> None:
        if not self.spill_error:
            try:
                if self._spill is None:
                    self._spill = self._open_spill()
                left = memoryview(self._block.tobytes())
                while left:
                    left = left[self._spill.write(left) :]
                self._spilled += BLOCK_ROWS
                self._used = 0
                return
            except OSError as error:
                self.spill_error = str(error)
        self._kept.append(self._block)
        self._block = np.zeros(BLOCK_ROWS, ROW)
        self._used = 0


def _in_order(parts: list[npt.NDArray[np.void]]) -> npt.NDArray[np.void]:
    """All rows by index, in a file of its own: requests end in another order than they begin. In memory where the disk
    is full."""
    total = sum(map(len, parts))
    order = np.argsort(np.concatenate([part["index"] for part in parts]), kind="stable")
    starts = np.cumsum([0, *map(len, parts)])
    rows: npt.NDArray[np.void]
    try:
        with tempfile.TemporaryFile() as file:
            file.truncate(total * ROW.itemsize)
            os.posix_fallocate(file.fileno(), 0, max(1, total * ROW.itemsize))
            rows = np.memmap(file, ROW, "r+", shape=(total,)) if total else np.zeros(0, ROW)
    except (OSError, AttributeError):  # AttributeError: not on macOS
        rows = np.zeros(total, ROW)
    place = np.empty(total, np.int64)
    place[order] = np.arange(total)
    for part, start in zip(parts, starts, strict=False):
        for at in range(0, len(part), BLOCK_ROWS):
            rows[place[start + at : start + min(at + BLOCK_ROWS, len(part))]] = part[at : at + BLOCK_ROWS]
    return rows
