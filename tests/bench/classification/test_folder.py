"""Pictures of a folder and of those in it, put into requests of bounded size."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.classification.folder import Picture, batches, list_pictures
from bench.errors import BenchError


def made(*sizes: int) -> list[Picture]:
    return [Picture(str(place), Path(f"{place}.png"), size) for place, size in enumerate(sizes)]


def sizes(found: list[list[Picture]]) -> list[list[int]]:
    return [[picture.size_bytes for picture in batch] for batch in found]


def test_pictures_are_found_by_suffix_below_the_folder(tmp_path: Path) -> None:
    """In order of their names with slashes; other files are left out; a suffix in capitals counts."""
    for name in ("b.PNG", "a/z.jpeg", "a/notes.txt", "c.jpg", "labels.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * len(name))
    found = list_pictures(tmp_path)
    assert [picture.name for picture in found] == ["a/z.jpeg", "b.PNG", "c.jpg"]
    assert [picture.size_bytes for picture in found] == [8, 5, 5]


def test_what_is_no_folder_of_pictures_is_said(tmp_path: Path) -> None:
    """Not there, a file, empty: three sentences."""
    (tmp_path / "file").touch()
    for place, said in (("gone", "not there"), ("file", "no folder"), (".", "no picture")):
        with pytest.raises(BenchError, match=said):
            list_pictures(tmp_path / place)


def test_batches_are_bounded_in_pictures() -> None:
    """150 in batches of 64: 64, 64 and 22."""
    assert [len(batch) for batch in batches(made(*[1] * 150), 64)] == [64, 64, 22]


def test_batches_are_bounded_in_bytes() -> None:
    """A batch ends before it is too long, and a picture that is too long by itself goes alone."""
    assert sizes(list(batches(made(4, 4, 4, 20, 1), 64, most_bytes=10))) == [[4, 4], [4], [20], [1]]


def test_no_picture_is_no_batch() -> None:
    """An empty list makes no request."""
    assert not list(batches([], 64))
