"""Top-1, top-5 and confusions of a handful of answers, counted by hand."""

from __future__ import annotations

import pytest

from bench.classification.labels import Truth
from bench.classification.report import wilson
from bench.classification.score import Confusion, Result, score
from gateway.client import Prediction

CAT, DOG = Truth(1, "cat"), Truth(2, "dog")


def answered(name: str, truth: Truth | None, *indexes: int, sure: float = 0.9) -> Result:
    labels = {1: "cat", 2: "dog"}
    predictions = [
        Prediction(index, labels.get(index, str(index)), sure / 2**place) for place, index in enumerate(indexes)
    ]
    return Result(name, predictions, truth=truth)


def test_top1_and_top5() -> None:
    """First, fifth, sixth and nowhere: one of four, two of four."""
    results = [
        answered("a", CAT, 1),
        answered("b", CAT, 9, 8, 7, 6, 1),
        answered("c", CAT, 9, 8, 7, 6, 5, 1),
        answered("d", DOG, 9),
    ]
    found = score(results, 10)
    assert found is not None
    assert (found.labelled, found.top1, found.top5) == (4, 1, 2)


def test_failures_and_pictures_without_a_truth_do_not_count() -> None:
    """They are neither right nor wrong."""
    results = [answered("a", CAT, 1), answered("b", None, 1), Result("c", reason="bad_input", truth=CAT)]
    found = score(results, 10)
    assert found is not None
    assert (found.labelled, found.top1) == (1, 1)
    assert score(results[1:], 10) is None


def test_confusions_by_count_and_then_by_how_sure() -> None:
    """Two cats called dogs come before one dog called a cat; the surest of them is the example."""
    results = [
        answered("d1", DOG, 1, sure=0.99),
        answered("c1", CAT, 2, sure=0.5),
        answered("c2", CAT, 2, sure=0.7),
        answered("c3", CAT, 9, sure=0.6),
    ]
    found = score(results, 2)
    assert found is not None
    assert found.confusions == [Confusion("cat", "dog", 2, 0.7, "c2"), Confusion("dog", "cat", 1, 0.99, "d1")]


def test_wilson_as_in_the_textbook() -> None:
    """Newcombe (1998), table I: 81 of 263, 0 of 20 and 1 of 29."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
