"""The rule of one way: what goes in when, and when it comes out. No clock, no waiting, no sockets.

A queue of bounded bytes before a link of a given rate, then the delay and its jitter. First in, first out, always: what
would overtake arrives together with what it would have overtaken, as on a path that keeps its order.
"""

from __future__ import annotations

import random
from collections import deque

from bench.network.jitter import JitterProcess
from bench.network.profile import UNLIMITED, Profile, Way
from bench.network.stalls import Stalls

NS = 1_000_000_000
LEAST_BYTES = 40
"""TCP and IP without data: the least that crosses a link, so the queue's length is bounded in pieces too."""


class Bottleneck:
    """One way of a network. Times are nanoseconds since the start; they do not run backwards."""

    def __init__(self, way: Way, stalls: Stalls, jitter: JitterProcess, losses: random.Random) -> None:
        self._way = way
        self._stalls = stalls
        self._jitter = jitter
        self._losses = losses
        self._is_losing = False
        self._free_ns = 0
        self._last_due_ns = 0
        self._queued: deque[tuple[int, int]] = deque()
        """(when it has left the queue, bytes), oldest first."""
        self._queued_bytes = 0

    @property
    def stalls(self) -> int:
        """How many stalls something ran into."""
        return self._stalls.count

    def is_full(self, now_ns: int) -> bool:
        """Whether the queue holds all that it can. An empty one takes anything."""
        self._forget(now_ns)
        return self._queued_bytes >= self._way.queue_bytes

    def room_ns(self, now_ns: int) -> int:
        """When a full queue next gives something up; `now_ns` if it is not full."""
        return self._queued[0][0] if self.is_full(now_ns) else now_ns

    def admit(self, size_bytes: int, now_ns: int) -> int:
        """Takes it whether full or not; when it arrives at the other end."""
        self._forget(now_ns)
        left_ns = self._stalls.end_ns(max(now_ns, self._free_ns))
        if self._way.rate_bits_s != UNLIMITED:
            size_bytes = max(LEAST_BYTES, size_bytes)
            left_ns += round(size_bytes * 8 * NS / self._way.rate_bits_s)
            self._queued.append((left_ns, size_bytes))
            self._queued_bytes += size_bytes
        self._free_ns = left_ns
        delay_s = self._way.delay_s + self._jitter.next_s(left_ns)
        self._last_due_ns = max(self._last_due_ns, left_ns + round(delay_s * NS))
        return self._last_due_ns

    def is_lost(self) -> bool:
        """Whether chance takes the next packet. Runs of losses have a geometric length (Gilbert, 1960)."""
        way = self._way
        if not way.loss:
            return False
        share = way.loss
        if way.loss_burst > 1:
            ends = 1 / way.loss_burst
            share = 1 - ends if self._is_losing else min(1.0, ends * way.loss / (1 - way.loss))
        self._is_losing = self._losses.random() < share
        return self._is_losing

    def _forget(self, now_ns: int) -> None:
        while self._queued and self._queued[0][0] <= now_ns:
            self._queued_bytes -= self._queued.popleft()[1]


def bottlenecks(profile: Profile, seed: int) -> tuple[Bottleneck, Bottleneck]:
    """Up and down. Each chance has a generator of its own, so that one does not shift another."""

    def made(way: Way, name: str) -> Bottleneck:
        return Bottleneck(
            way,
            # the same generator for both ways: they stall together
            Stalls(profile.stall_every_s, profile.stall_s, random.Random(f"{seed} stalls")),
            JitterProcess(way.jitter, random.Random(f"{seed} {name} jitter")),
            random.Random(f"{seed} {name} losses"),
        )

    return made(profile.up, "up"), made(profile.down, "down")
