"""The order in which two systems are asked, and who is whose partner."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bench.load.arms import COINS, ArmTransport, Order
from bench.load.sample import Sample


class Noted:
    """A Transport that notes what it was given."""

    def __init__(self) -> None:
        self.indices: list[int] = []

    async def send(self, sample: Sample, deadline_ns: int) -> None:
        assert deadline_ns == 7
        self.indices.append(sample.index)


@pytest.mark.parametrize("block", [1, 3, 10])
def test_each_pair_of_blocks_asks_both_once(block: int) -> None:
    """Of 2 N requests in a row, N go to each, all of one before the other's."""
    order = Order(1, block)
    for pair in range(50):
        arms = [order.arm(index) for index in range(2 * block * pair, 2 * block * (pair + 1))]
        assert arms in ([0] * block + [1] * block, [1] * block + [0] * block)


def test_who_is_first_is_a_coin() -> None:
    """Neither is always first, and no fixed pattern such as A B A B could fall in step with the server."""
    order = Order(5)
    first = [order.arm(2 * pair) for pair in range(4 * COINS)]
    assert 0.45 < sum(first) / len(first) < 0.55
    assert first[:COINS] != first[COINS : 2 * COINS]
    changes = sum(a != b for a, b in pairwise(first))
    assert 0.45 < changes / len(first) < 0.55


def test_the_same_seed_gives_the_same_order_in_any_order_of_asking() -> None:
    """A request's system depends on seed and place alone."""
    forwards = [Order(9, 2).arm(index) for index in range(5000)]
    order = Order(9, 2)
    assert [order.arm(index) for index in reversed(range(5000))] == forwards[::-1]
    assert [Order(10, 2).arm(index) for index in range(5000)] != forwards


@pytest.mark.parametrize("block", [1, 4])
def test_partners_have_the_same_position(block: int) -> None:
    """Each position is held by one request of each system, and within a system they ascend without a gap."""
    order = Order(3, block)
    positions: tuple[list[int], list[int]] = ([], [])
    for index in range(40 * block):
        positions[order.arm(index)].append(order.position(index))
    assert positions[0] == positions[1] == list(range(20 * block))


async def test_a_sample_says_where_it_went() -> None:
    """Its label is that of the system, and only that one is asked."""
    one, two = Noted(), Noted()
    order = Order(1)
    transport = ArmTransport(order, [("near", one), ("far", two)])
    samples = [Sample(index, 0) for index in range(20)]
    for sample in samples:
        await transport.send(sample, 7)
    assert [sample.label for sample in samples] == [("near", "far")[order.arm(index)] for index in range(20)]
    assert sorted(one.indices + two.indices) == list(range(20))
    assert len(one.indices) == 10
