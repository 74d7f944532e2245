"""The workers that serve one model, kept in the order in which a policy wants to look at them.

Every change of a replica moves one entry, so a choice among thousands reads the head of a list instead of scanning
them all. Holds no rule about who is best: the order is the policy's `rank`. Refuses replicas that take no jobs.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterator

from gateway.dispatch.replica import Replica

Rank = Callable[[Replica, float], float]
"""(replica, now) -> its place, lower first. While nothing changes at the replica, later calls never give less: a
stored place is a lower bound, which is what makes the head of a ranking exact (see `Ranking.first`)."""

DEMAND_S = 1.0
"""Shortest time constant of the demand's moving average: a burst counts within a second, a single job hardly."""

DEMAND_JOBS = 10
"""Jobs that the ready workers could do within the time constant, at least: where a job takes seconds, two of them in
one second are no demand of two a second."""

_Entry = tuple[float, int, Replica]


class Ranking:
    """Replicas in ascending rank; equal ranks in order of arrival."""

    def __init__(self, rank: Rank) -> None:
        self._rank = rank
        self._entries: list[_Entry] = []
        self._keys: dict[Replica, float] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, position: int) -> Replica:
        return self._entries[position][2]

    def __iter__(self) -> Iterator[Replica]:
        return (entry[2] for entry in self._entries)

    def put(self, replica: Replica, now: float) -> None:
        """At its place of now, wherever it stood."""
        key = self._rank(replica, now)
        stored = self._keys.get(replica)
        if stored == key:
            return
        if stored is not None:
            del self._entries[bisect_left(self._entries, (stored, replica.index))]
        self._keys[replica] = key
        insort(self._entries, (key, replica.index, replica))

    def discard(self, replica: Replica) -> None:
        key = self._keys.pop(replica, None)
        if key is not None:
            del self._entries[bisect_left(self._entries, (key, replica.index))]

    def first(self, now: float, below: float = math.inf) -> tuple[float, Replica] | None:
        """The lowest rank and its replica; None if there is none under `below`.

        Ranks grow with time alone (a job that is overdue), so the head is asked again until its answer stands. Each
        round moves one replica back behind another, and it comes to the head again only when it is as late again.
        """
        while self._entries:
            key, _, replica = self._entries[0]
            if key >= below:
                return None
            if self._rank(replica, now) <= key:
                return key, replica
            self.put(replica, now)
        return None

    def count_below(self, rank: float) -> int:
        """How many are ranked under this, by the ranks they were stored with."""
        return bisect_left(self._entries, (rank,))


class Pool:
    """One model's replicas. `idle`: a slot is free; `ahead`: only a credit is; `full`: neither, but ready."""

    def __init__(self, model: str, rank: Rank, now: float) -> None:
        self.model = model
        self.replicas: dict[str, Replica] = {}
        """Every worker that announces the model, by its name, ready or not."""
        self.idle = Ranking(rank)
        self.ahead = Ranking(rank)
        self.full = Ranking(rank)
        self.turns = 0
        """Assignments so far."""
        self.arrivals = 0
        """Jobs submitted since the last `refresh`."""
        self.demand_per_s = 0.0
        """Moving average of the jobs submitted per second."""
        self.rate_per_s = 0.0
        """Jobs per second that the ready workers are expected to do; renewed by `refresh`."""
        self.absent_since: float | None = now
        """Since when nobody takes jobs; None while somebody does."""
        self._rank = rank
        self._tiers: dict[Replica, Ranking] = {}
        """In which of the three a replica stands."""

    @property
    def ready_count(self) -> int:
        """Workers that take jobs, full or not."""
        return len(self.idle) + len(self.ahead) + len(self.full)

    @property
    def open_count(self) -> int:
        """Workers with a free credit."""
        return len(self.idle) + len(self.ahead)

    def open_at(self, position: int) -> Replica:
        """The worker with a free credit at this position, 0 <= position < open_count: first the idle ones."""
        free = len(self.idle)
        return self.idle[position] if position < free else self.ahead[position - free]

    def ready(self) -> Iterator[Replica]:
        for ranking in (self.idle, self.ahead, self.full):
            yield from ranking

    def sample(self) -> Replica | None:
        """One that is ready, if there is any, else one that is here; None where nobody is."""
        for ranking in (self.idle, self.ahead, self.full):
            if ranking:
                return ranking[0]
        return next(iter(self.replicas.values()), None)

    def place(self, replica: Replica, now: float) -> None:
        """Puts the replica where its counts say, or takes it out if it takes no jobs. Call after every change of it."""
        tier, stood_in = self._tier(replica), self._tiers.get(replica)
        if stood_in is not None and tier is not stood_in:
            stood_in.discard(replica)
            del self._tiers[replica]
        if tier is not None:
            self._tiers[replica] = tier
            tier.put(replica, now)
            self.absent_since = None
        elif self.absent_since is None and not self.ready_count:
            self.absent_since = now

    def refresh(self, elapsed_s: float) -> None:
        """Renews the rates; `elapsed_s` is the time since this was last called."""
        self.rate_per_s = math.fsum(replica.width / replica.service_s for replica in self.ready())
        if elapsed_s > 0:
            constant_s = max(DEMAND_S, DEMAND_JOBS / self.rate_per_s) if self.rate_per_s else DEMAND_S
            weight = 1 - math.exp(-elapsed_s / constant_s)
            self.demand_per_s += weight * (self.arrivals / elapsed_s - self.demand_per_s)
            self.arrivals = 0

    def without(self, workers: Collection[str], now: float) -> Pool:
        """The same pool less these workers, for a job that already failed there; itself when nobody else is ready."""
        others = [replica for replica in self.ready() if replica.worker not in workers]
        if not others or len(others) == self.ready_count:
            return self
        rest = Pool(self.model, self._rank, now)
        for replica in others:
            rest.replicas[replica.worker] = replica
            rest.place(replica, now)
        return rest

    def _tier(self, replica: Replica) -> Ranking | None:
        if not replica.takes_jobs:
            return None
        if replica.outstanding < replica.width:
            return self.idle
        return self.ahead if replica.outstanding < replica.credits else self.full
