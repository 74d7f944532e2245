"""Sends the requests of one run to two systems in turn, so that whatever happens meanwhile happens to both.

Requests come in pairs of blocks: one block to each system, and a seeded coin says which is first. The i-th requests of
both blocks are partners and carry the same picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.load.sample import Sample
from bench.load.transport import Transport

COINS = 1024
"""Thrown at once."""


class Order:
    """Which of two systems each request of the schedule goes to."""

    def __init__(self, seed: int, block: int = 1) -> None:
        """`block`: requests in a row to one system."""
        self._seed = seed
        self._block = block
        self._drawn = -1
        self._coins: list[int] = []

    def arm(self, index: int) -> int:
        """0 or 1."""
        pair, within = divmod(index, 2 * self._block)
        return (within // self._block) ^ self._coin(pair)

    def position(self, index: int) -> int:
        """The same for two partners, and ascending within a system without a gap."""
        return index // (2 * self._block) * self._block + index % self._block

    def _coin(self, pair: int) -> int:
        draw, place = divmod(pair, COINS)
        if draw != self._drawn:
            self._drawn = draw
            self._coins = np.random.default_rng([self._seed, draw]).integers(0, 2, COINS).tolist()
        return self._coins[place]


class ArmTransport:
    """A Transport over two, that writes into each sample which one it went to."""

    def __init__(self, order: Order, arms: Sequence[tuple[str, Transport]]) -> None:
        """`arms`: label and Transport of each of the two."""
        self._order = order
        self._arms = arms

    async def send(self, sample: Sample, deadline_ns: int) -> None:
        """As the protocol says."""
        sample.label, transport = self._arms[self._order.arm(sample.index)]
        await transport.send(sample, deadline_ns)
