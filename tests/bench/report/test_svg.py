"""What pictures are made of: which points are drawn, and which names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report.figures import envelope
from bench.report.svg import clean, thin


def test_few_points_are_all_drawn() -> None:
    """Up to the bound nothing is left out."""
    x = np.arange(50, dtype=float)
    assert thin(x, x, 50).tolist() == list(range(50))


@pytest.mark.parametrize("seed", range(5))
def test_a_point_by_itself_is_always_drawn(seed: int) -> None:
    """However many others there are, the slowest request stays, and the bound is kept."""
    random = np.random.default_rng(seed)
    x, y = np.sort(random.random(20_000)), random.random(20_000)
    y[777] = 9.0
    kept = thin(x, y, 400)
    assert 777 in kept
    assert 100 < len(kept) <= 400
    assert kept.tolist() == sorted(set(kept.tolist()))


def test_points_in_one_place_are_drawn_once() -> None:
    """What cannot be told apart is one point."""
    assert len(thin(np.ones(1000), np.ones(1000), 10)) == 1


def test_a_line_keeps_its_peaks() -> None:
    """Of each column the lowest and the highest stay, whatever lies between."""
    x = np.arange(10_000, dtype=float)
    y = np.zeros(10_000)
    y[1234], y[8765] = 5.0, -5.0
    kept = envelope(x, y, 100)
    assert {1234, 8765} <= set(kept.tolist())
    assert len(kept) <= 200


@given(st.text(max_size=100))
def test_a_clean_name_can_be_shown(text: str) -> None:
    """No control characters and no more than the length."""
    shown = clean(text, 20)
    assert len(shown) <= 20
    assert shown.isprintable() or any(one in shown for one in "\u00a0\u2003\u3000 ") or not shown.strip()
    shown.encode()
