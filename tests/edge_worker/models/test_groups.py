"""Groups of classes: how they are written, and that they mean the same animals in every model."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_worker.models.groups import IMAGENET, imagenet_groups, parse_indices, written
from edge_worker.models.registry import EMBEDDED, KNOWN, read_model
from edge_worker.models.spec import SpecError, parse_spec
from tests.edge_worker.models.test_spec import TEXT
from tests.support import data
from tests.support.models import write_model

BREEDS, HOUSE_CATS, BIG_CATS = 118, 5, 8


def test_indices_and_ranges_become_indices() -> None:
    """Each once and in order, whatever order they are written in."""
    assert parse_indices([9, "3-5", 4, "7-7"], most=10) == (3, 4, 5, 7, 9)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([], "must be a list of class indices"),
        ("3-5", "must be a list of class indices"),
        ([True], "True: must be an index"),
        ([-1], "-1: must be an index"),
        ([1.5], "1.5: must be an index"),
        (["3 - 5"], "'3 - 5': must be an index"),
        (["\u0663-\u0665"], "must be an index"),
        (["5-3"], "'5-3': a range goes from the smaller"),
        (["3-10"], "'3-10': indices go from 0 to 9"),
        ([10], "10: indices go from 0 to 9"),
        (["0-99999999999999999"], "must be an index"),
    ],
)
def test_a_wrong_list_is_refused(listed: object, message: str) -> None:
    """With what is wrong in it, and before a range is counted out."""
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_indices(listed, most=10)


@given(st.lists(st.sets(st.integers(0, 60), min_size=1), min_size=1, max_size=4))
def test_what_is_written_is_read_again(sets: list[set[int]]) -> None:
    """Any groups survive the way through a description."""
    groups = {f"group-{number}": tuple(sorted(indices)) for number, indices in enumerate(sets)}
    assert parse_spec(f"{TEXT}[groups]\n{written(groups)}").groups == groups


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("[groups]\ncat = [1, -2]", "groups.cat = [1, -2]: -2: must be an index"),
        ('[groups]\n"house cat" = [1]', "groups.house cat: a group's name is letters"),
        ("[[groups]]\ncat = [1]", "a table of at most 100 groups"),
        ("[groups]\n" + "\n".join(f"g{number} = [1]" for number in range(101)), "a table of at most 100 groups"),
        ('[groups]\na = ["0-999999"]\nb = [1]', "all groups together name over 1000000 classes"),
    ],
)
def test_a_mistake_in_a_description_is_named(lines: str, message: str) -> None:
    """The field in full, its value and what is allowed."""
    with pytest.raises(SpecError) as caught:
        parse_spec(f"{TEXT}{lines}\n")
    assert message in str(caught.value)


def test_a_class_without_a_label_is_refused(tmp_path: Path) -> None:
    """A group reaches no further than the labels."""
    folder = write_model(tmp_path / "colours")
    with (folder / "model.toml").open("a") as description:
        description.write("\n[groups]\nwarm = [0]\nunknown = [1, 3]\n")
    assert "groups.unknown: has the class 3, but the 3 labels end at 2" in read_model(folder).failure


def test_the_digits_are_even_or_odd() -> None:
    """Each digit is in one of the shipped model's two groups."""
    found = read_model(EMBEDDED)
    assert found.spec is not None
    assert found.spec.groups == {"even": (0, 2, 4, 6, 8), "odd": (1, 3, 5, 7, 9)}
    assert found.labels == tuple("0123456789")


def test_every_animal_is_named_once() -> None:
    """No breed is missing, and none is in two groups."""
    named = tomllib.loads(IMAGENET.read_text(encoding="utf-8"))
    assert {group: len(set(names)) for group, names in named.items()} == {
        "dog": BREEDS,
        "cat": HOUSE_CATS,
        "big_cat": BIG_CATS,
    }
    assert len({name for names in named.values() for name in names}) == BREEDS + HOUSE_CATS + BIG_CATS


def test_the_known_description_has_the_groups_of_its_labels() -> None:
    """The ranges that are written for MobileNet v2 are those that its labels give."""
    labels = (data.model_dir() / "mobilenet_v2" / "labels.txt").read_text(encoding="utf-8").splitlines()
    spec = parse_spec((KNOWN / "mobilenet_v2.toml").read_text(encoding="utf-8"))
    assert spec.groups == imagenet_groups(labels)


def test_labels_count_by_their_own_order_and_spelling() -> None:
    """Another order, other spaces and synonyms: the same animals; what is worn is no dog."""
    labels = ["dummy", "cardigan", "Siamese_cat", "Cardigan", "kit fox", "pug, pug-dog", "tiger"]
    assert imagenet_groups(labels) == {"dog": (3, 5), "cat": (2,), "big_cat": (6,)}
    assert imagenet_groups(["red", "green"]) == {}


@pytest.mark.parametrize(("weights", "random"), [("random (seed 7)", True), ("trained by us", False), ("", False)])
def test_random_weights_are_told_by_their_description(weights: str, random: bool) -> None:
    """A description that begins with `random` is of a network that was never trained."""
    text = TEXT.replace('format = "onnx"\n', f'format = "onnx"\nweights = "{weights}"\n')
    assert parse_spec(text).has_random_weights is random
