"""Labels files: with and without a head, by index or by label, with the line in each complaint."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.classification.labels import Truth, read_labels, truth_of
from bench.errors import BenchError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "labels.csv"


def test_a_head_names_the_columns(file: Path) -> None:
    """file, class_index and label anywhere among others, quoted commas and a byte order mark included."""
    file.write_text('﻿label,bytes,file,class_index\n"tench, Tinca tinca",7,a.jpg,1\ncat,8,b.jpg,281\n', encoding="utf-8")
    assert read_labels(file) == {"a.jpg": Truth(1, "tench, Tinca tinca"), "b.jpg": Truth(281, "cat")}


def test_without_a_head_it_is_file_and_label(file: Path) -> None:
    """Two columns; empty lines do not count."""
    file.write_text("a.jpg, cat \n\nb.jpg,dog\n")
    assert read_labels(file) == {"a.jpg": Truth(None, "cat"), "b.jpg": Truth(None, "dog")}


def test_file_and_label_with_a_head(file: Path) -> None:
    """The head is no picture."""
    file.write_text("file,label\na.jpg,7\n")
    assert read_labels(file) == {"a.jpg": Truth(None, "7")}


def test_an_index_is_compared_before_a_label() -> None:
    """Two classes of one name are told apart by index; a label alone is compared without case."""
    crane = Truth(135, "crane")
    assert crane.is_answered_by(135, "crane")
    assert not crane.is_answered_by(518, "crane")
    assert Truth(None, "Tabby Cat").is_answered_by(282, "tabby cat")
    assert not Truth(None, "tabby").is_answered_by(282, "tabby cat")


def test_a_picture_is_looked_up_by_path_and_then_by_name() -> None:
    """A path in the table wins over a name."""
    truths = {"a.jpg": Truth(1, "one"), "sub/a.jpg": Truth(2, "two")}
    assert truth_of("sub/a.jpg", truths) == Truth(2, "two")
    assert truth_of("other/a.jpg", truths) == Truth(1, "one")
    assert truth_of("b.jpg", truths) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no label"),
        ("file,class_index\n", "no label"),
        ("file,size\na.jpg,7\n", "neither a column"),
        ("a,b,c\n", "not two columns"),
        ("file,class_index\na.jpg,cat\n", "line 2: class_index 'cat' is no number"),
        ("file,class_index\na.jpg,1\nb.jpg,\n", "line 3: neither"),
        ("file,label\n,cat\n", "line 2: no file"),
        ("a.jpg,cat\x00\ud800\n", "cannot read"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_line(file: Path, text: str, said: str) -> None:
    """Each mistake is one sentence."""
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BenchError, match=said):
        read_labels(file)


def test_a_file_that_is_not_there_is_said(file: Path) -> None:
    """With its name."""
    with pytest.raises(BenchError, match=r"cannot read .*labels\.csv"):
        read_labels(file)
