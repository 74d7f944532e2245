"""Sends requests at their intended times and records every one of them.

The open loop is free of coordinated omission: a slow answer delays no later request, and a request that leaves late
keeps its intended time, from which its response time counts. What could not be sent is recorded as such. The closed
loop, in which each connection waits for its answer, is here too, and says of itself that a server's pause slows it
down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

import numpy as np

from bench.load.arrivals import Arrivals, WarmUp, until
from bench.load.clock import Clock
from bench.load.sample import INTERRUPTED, NOT_SENT, Ints, Recorder, Sample, Samples
from bench.load.transport import Transport

MAX_IN_FLIGHT = 20_000
"""Requests that wait for an answer at once: each holds some 20 kB and perhaps a socket. Beyond, they are not sent."""
MARK_EVERY_NS = 50_000_000
"""Between two marks of the occupancy: two in ten thousand of a run of five minutes."""
MARK_EACH = 4096
"""The first marks are one for each change: exact for a run that is short against the time between two."""


@dataclass(frozen=True)
class Plan:
    """What a generator does. Exactly one of `arrivals` and `closed_loops` is given."""

    arrivals: Arrivals | None
    """The schedule; None for a closed loop."""
    closed_loops: int = 0
    """So many send their next request when the last one is answered."""
    duration_ns: int | None = None
    """Requests are intended before this, warm-up included; None: no bound."""
    count: int | None = None
    """At most so many, warm-up included; None: no bound."""
    warm_up: WarmUp = field(default_factory=WarmUp)
    timeout_ns: int = 10_000_000_000
    """From the intended time."""
    max_in_flight: int = MAX_IN_FLIGHT


@dataclass(frozen=True)
class Run:
    """What a generator did. Times are of its clock."""

    plan: Plan
    samples: Samples
    """All, warm-up included."""
    started_ns: int
    measured_from_ns: int
    """The end of the warm-up."""
    measured_to_ns: int
    """The end of the schedule, or of what was done of it: requests of the window were intended before."""
    ended_ns: int
    """When the last answer was here."""
    is_interrupted: bool
    occupancy: Occupancy


class Occupancy:
    """How many requests are intended and not over, integrated over time: the L of Little's law, counted by itself and
    not from the samples that it is compared with."""

    def __init__(self, now_ns: int) -> None:
        self.in_flight = 0
        self.most = 0
        self._since_ns = now_ns
        self._integral_ns = 0
        self._times, self._integrals = [now_ns], [0]

    def enter(self, now_ns: int, t_int_ns: int) -> None:
        """One more, that should have been there since `t_int_ns`."""
        self._advance(now_ns)
        self._integral_ns += now_ns - t_int_ns
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)

    def leave(self, now_ns: int) -> None:
        """One fewer."""
        self._advance(now_ns)
        self.in_flight -= 1

    def mean(self, from_ns: int, to_ns: int) -> float:
        """The mean number between two times; NaN for an empty window."""
        if to_ns <= from_ns:
            return float("nan")
        times = np.array([*self._times, self._since_ns], dtype=np.float64)
        integrals = np.array([*self._integrals, self._integral_ns], dtype=np.float64)
        low, high = np.interp([from_ns, to_ns], times, integrals)
        return float((high - low) / (to_ns - from_ns))

    def _advance(self, now_ns: int) -> None:
        self._integral_ns += self.in_flight * (now_ns - self._since_ns)
        self._since_ns = now_ns
        if len(self._times) < MARK_EACH or now_ns - self._times[-1] >= MARK_EVERY_NS:
            self._times.append(now_ns)
            self._integrals.append(self._integral_ns)


class Generator:
    """One run. `run` once; `stop` and `cut` end it early and lose nothing."""

    def __init__(
        self,
        plan: Plan,
        transport: Transport,
        clock: Clock,
        recorder: Recorder,
        on_done: Callable[[Sample], None] = lambda _sample: None,
    ) -> None:
        """`on_done` sees each sample after it was recorded: progress, not more than microseconds."""
        self._plan = plan
        self._transport = transport
        self._clock = clock
        self._recorder = recorder
        self._on_done = on_done
        self._tasks: set[asyncio.Task[None]] = set()
        self._schedule: asyncio.Task[None] | None = None
        self._is_stopped = False
        self._started_ns = 0
        self._next_index = 0
        self._last_intended_ns = 0
        self._occupancy = Occupancy(0)

    @property
    def in_flight(self) -> int:
        """Requests that wait for their answer."""
        return self._occupancy.in_flight

    async def run(self) -> Run:
        """Sends all, waits for all, returns all. Each request ends by its own time-out, so this does too."""
        self._started_ns = self._clock.now_ns()
        self._occupancy = Occupancy(self._started_ns)
        loop = self._open_loop() if self._plan.arrivals else self._closed_loops()
        self._schedule = asyncio.create_task(loop)
        try:
            await asyncio.wait({self._schedule})
            if not self._schedule.cancelled():
                self._schedule.result()
            stopped_ns = self._clock.now_ns()
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            self.stop()
            self.cut()
        return self._done(stopped_ns)

    def stop(self) -> None:
        """Sends no more; what is in flight is waited for."""
        if self._schedule is not None and not self._schedule.done():
            self._is_stopped = True
            self._schedule.cancel()

    def cut(self) -> None:
        """Ends what is in flight: each is recorded as interrupted."""
        for task in self._tasks:
            task.cancel()

    async def _open_loop(self) -> None:
        plan, clock = self._plan, self._clock
        assert plan.arrivals is not None
        for offset_ns in until(plan.arrivals.start(), plan.duration_ns, plan.count):
            t_int_ns = self._started_ns + offset_ns
            await clock.wait_until_ns(t_int_ns)
            sample = self._intend(t_int_ns)
            if self._occupancy.in_flight >= plan.max_in_flight:
                sample.reason, sample.t_done_ns = NOT_SENT, clock.now_ns()
                self._recorder.add(sample)
                self._on_done(sample)
            else:
                self._occupancy.enter(clock.now_ns(), t_int_ns)
                self._launch(self._request(sample))

    async def _closed_loops(self) -> None:
        """Ends when all of them have."""
        for _ in range(self._plan.closed_loops):
            self._launch(self._closed_loop())
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _closed_loop(self) -> None:
        plan, clock = self._plan, self._clock
        while not self._is_stopped and (plan.count is None or self._next_index < plan.count):
            now_ns = clock.now_ns()
            if plan.duration_ns is not None and now_ns - self._started_ns >= plan.duration_ns:
                return
            self._occupancy.enter(now_ns, now_ns)
            await self._request(self._intend(now_ns))

    def _launch(self, coroutine: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _intend(self, t_int_ns: int) -> Sample:
        index = self._next_index
        self._next_index += 1
        self._last_intended_ns = t_int_ns
        is_warmup = self._plan.warm_up.covers(index, t_int_ns - self._started_ns)
        return Sample(index, t_int_ns, is_warmup=is_warmup)

    async def _request(self, sample: Sample) -> None:
        """From here to its record; also when it is cut off."""
        try:
            await self._transport.send(sample, sample.t_int_ns + self._plan.timeout_ns)
        except asyncio.CancelledError:
            sample.reason = INTERRUPTED
            raise
        finally:
            sample.t_done_ns = sample.t_done_ns or self._clock.now_ns()
            self._occupancy.leave(sample.t_done_ns)
            self._recorder.add(sample)
            self._on_done(sample)

    def _done(self, stopped_ns: int) -> Run:
        samples = self._recorder.samples()
        measured = samples.measured()
        warm_up_ns = self._started_ns + self._plan.warm_up.duration_ns
        first: Ints = measured.column("t_int")[:1]
        return Run(
            plan=self._plan,
            samples=samples,
            started_ns=self._started_ns,
            measured_from_ns=int(first[0]) if self._plan.warm_up.count and len(first) else warm_up_ns,
            measured_to_ns=self._window_end_ns(stopped_ns),
            ended_ns=int(samples.column("t_done").max(initial=stopped_ns)),
            is_interrupted=self._is_stopped,
            occupancy=self._occupancy,
        )

    def _window_end_ns(self, stopped_ns: int) -> int:
        """The schedule's end by its own time; the gap after the last request belongs to it."""
        plan = self._plan
        if self._is_stopped or plan.arrivals is None:
            return stopped_ns
        if plan.duration_ns is not None and (plan.count is None or self._next_index < plan.count):
            return self._started_ns + plan.duration_ns
        return self._last_intended_ns + plan.arrivals.mean_gap_ns
