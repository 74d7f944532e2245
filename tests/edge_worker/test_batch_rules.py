"""The rules of batching, on paper: sizes, who leaves together, and when."""

from __future__ import annotations

import math

import pytest

from edge_worker.batch_rules import BatchRule, Line, Waiting


def line(rule: BatchRule, *arrivals: float, deadlines: dict[int, float] | None = None) -> Line[int]:
    made: Line[int] = Line(rule)
    for index, arrived_at in enumerate(arrivals):
        made.add(Waiting(index, arrived_at, (deadlines or {}).get(index)))
    return made


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8)), (9, (1, 2, 4, 8, 9))]
)
def test_sizes_are_powers_of_two_and_the_largest(largest: int, sizes: tuple[int, ...]) -> None:
    """Few sizes are to be warmed up, and no batch is padded to twice its size or more."""
    rule = BatchRule(largest)
    assert rule.sizes == sizes
    for count in range(1, largest + 1):
        assert rule.padded(count) in sizes
        assert count <= rule.padded(count) < 2 * count


def test_without_batching_each_network_takes_one_call() -> None:
    """The slots are what they were; with it there is a batch for each network and one that gathers."""
    assert BatchRule().calls_at_once(3) == 3
    assert BatchRule(8).calls_at_once(3) == 32


def test_a_full_batch_leaves_at_once() -> None:
    """Whatever it might still wait; the oldest calls are in it, the others wait on."""
    waiting = line(BatchRule(3, 1_000_000), 0.0, 0.1, 0.2, 0.3)
    assert waiting.leaves_at(0.0) == -math.inf
    assert [call.item for call in waiting.take()] == [0, 1, 2]
    assert waiting.leaves_at(0.0) == pytest.approx(1.3)
    assert len(waiting) == 1


def test_the_first_call_sets_the_end_of_the_wait() -> None:
    """Later ones do not prolong it; nobody waits in an empty line."""
    assert line(BatchRule(4, 2500), 10.0, 10.002).leaves_at(0.0) == pytest.approx(10.0025)
    assert line(BatchRule(4, 0), 10.0).leaves_at(0.0) == 10.0
    assert line(BatchRule(4, 2500)).leaves_at(0.0) is None


def test_a_deadline_shortens_the_wait_by_what_computing_takes() -> None:
    """A call that must be answered at 10.5 leaves at 10.2 when a batch takes 0.3; a late deadline changes nothing."""
    rule = BatchRule(4, 1_000_000)
    assert line(rule, 10.0, 10.1, deadlines={1: 10.5}).leaves_at(0.3) == pytest.approx(10.2)
    assert line(rule, 10.0, 10.1, deadlines={1: 99.0}).leaves_at(0.3) == pytest.approx(11.0)


def test_who_has_left_is_not_in_the_batch() -> None:
    """A cancelled call is taken out; one that is no longer there may be taken out again."""
    waiting: Line[int] = Line(BatchRule(2, 1000))
    calls = [Waiting(index, float(index), None) for index in range(3)]
    for call in calls:
        waiting.add(call)
    waiting.discard(calls[0])
    waiting.discard(calls[0])
    assert waiting.take() == calls[1:]
