"""Decisions are made by the real core, and none is lost on the way."""

from __future__ import annotations

import pytest

from bench.fleet.decision import measure


@pytest.mark.parametrize("workers", [1, 10])
def test_each_number_is_something(workers: int) -> None:
    """A fleet of this size is measured; nothing is said of how quick it is."""
    found = measure(workers)
    assert found.workers == workers
    assert 0 < found.us <= found.worst_us
    assert found.tick_ms > 0
    assert found.view_ms > 0
