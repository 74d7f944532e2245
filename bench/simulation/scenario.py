"""What is simulated: workers, load, what goes wrong and when. Plain values; one seed gives one list of jobs.

Every policy is given the same jobs: the same arrivals and the same work in each, so two policies differ by their
choices alone. A job's work is a factor of mean 1; on a worker it takes that many times the worker's own service time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker. `announced_slots` above `slots` is a server that takes whatever it is sent, and queues it itself."""

    service_s: float
    slots: int = 1
    rtt_s: float = 0.0
    announced_slots: int = 0
    """0: as many as it has."""


@dataclass(frozen=True, slots=True)
class Stall:
    """The worker with this number works on nothing from `at_s` for `lasts_s`; its tunnel stays up."""

    worker: int
    at_s: float
    lasts_s: float


@dataclass(frozen=True, slots=True)
class Loss:
    """The worker with this number dies at `at_s`; the gateway knows after `noticed_after_s`. It is back, as a new
    session, `back_after_s` after that (None: never). A worker that is dead already does not die again."""

    worker: int
    at_s: float
    noticed_after_s: float = 0.0
    back_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """A further worker at `at_s`."""

    spec: WorkerSpec
    at_s: float


def _bimodal(rng: np.random.Generator, count: int) -> Times:
    return np.where(rng.random(count) < 0.9, 0.5, 5.5)


def _lognormal(rng: np.random.Generator, count: int) -> Times:
    return rng.lognormal(-0.5 * np.log(2.0), np.sqrt(np.log(2.0)), count)  # mean 1, standard deviation 1


SERVICES: dict[str, Callable[[np.random.Generator, int], Times]] = {
    "constant": lambda rng, count: np.ones(count),
    "erlang4": lambda rng, count: rng.gamma(4.0, 0.25, count),  # standard deviation 1/2
    "exponential": lambda rng, count: rng.exponential(1.0, count),
    "lognormal": _lognormal,
    "bimodal": _bimodal,  # nine short ones and one eleven times as long: standard deviation 1.5
}
"""Name -> draws factors of mean 1."""

BURST = 8
"""Jobs that come together in arrivals named `burst`: a multipart request's worth."""

ARRIVALS: dict[str, Callable[[np.random.Generator, int], Times]] = {
    "poisson": lambda rng, count: np.cumsum(rng.exponential(1.0, count)),
    "constant": lambda rng, count: np.arange(1.0, count + 1.0),
    "burst": lambda rng, count: np.repeat(np.cumsum(rng.exponential(BURST, -(-count // BURST))), BURST)[:count],
}
"""Name -> times of arrival at a rate of 1 a second."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run's conditions; `load` is offered work over the capacity of the fleet as it begins."""

    fleet: tuple[WorkerSpec, ...]
    load: float
    jobs: int = 100_000
    seed: int = 1
    service: str = "constant"
    arrivals: str = "poisson"
    stalls: tuple[Stall, ...] = ()
    losses: tuple[Loss, ...] = ()
    joins: tuple[Join, ...] = ()
    deadline_s: float = 1e6
    """Of each job, from its arrival."""
    max_queue_jobs: int = 1 << 30
    settings: tuple[tuple[str, object], ...] = ()
    """Further fields of DispatchSettings, by name."""

    @property
    def rate_per_s(self) -> float:
        """Jobs offered per second."""
        return self.load * sum(worker.slots / worker.service_s for worker in self.fleet)

    def draw(self) -> tuple[Times, Times]:
        """Each job's arrival in seconds from 0, and its factor of work."""
        rng = np.random.default_rng(self.seed)
        arrivals = ARRIVALS[self.arrivals](rng, self.jobs) / self.rate_per_s
        return arrivals, SERVICES[self.service](rng, self.jobs)


_GROUP = re.compile(r"(?:(\d+)x)?([\d.]+)ms(?:/(\d+))?(?:@([\d.]+)ms)?")


def parse_fleet(text: str) -> tuple[WorkerSpec, ...]:
    """`2x8ms,4x80ms/2@10ms`: count, service time, slots, round trip. Raises ValueError for anything else."""
    workers: list[WorkerSpec] = []
    for group in text.split(","):
        match = _GROUP.fullmatch(group.strip())
        if match is None or not float(match[2]) > 0 or match[3] == "0":
            raise ValueError(f"{group!r} is no group of workers; an example is 4x80ms/2@10ms")
        spec = WorkerSpec(float(match[2]) / 1e3, int(match[3] or 1), float(match[4] or 0) / 1e3)
        workers += [spec] * int(match[1] or 1)
    if not workers:
        raise ValueError("a fleet needs at least one worker")
    return tuple(workers)
