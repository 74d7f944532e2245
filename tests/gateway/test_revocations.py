"""gateway/revocations.py: the list of tokens that are refused."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import pytest

from gateway.files import FileError
from gateway.revocations import FORGET_AFTER_S, LIMIT_BYTES, create_revocations, read_revocations, revoke
from tests.support.credentials import NOW


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "revoked.txt"
    create_revocations(file)
    return file


def test_a_new_list_is_empty(path: Path) -> None:
    """A list is made once, and making it again forgets nothing."""
    assert read_revocations(path) == frozenset()
    revoke(path, "a", NOW, NOW)
    create_revocations(path)
    assert read_revocations(path) == {"a"}


def test_lines_are_added(path: Path) -> None:
    """Each revocation is one line more; a repeated one is not."""
    for token_id in ("a", "b", "a"):
        revoke(path, token_id, NOW + 60, NOW)
    revoke(path, "c", math.inf, NOW)
    assert path.read_text().splitlines()[1:] == [f"a {NOW + 60}", f"b {NOW + 60}", "c never"]


def test_a_later_expiry_wins(path: Path) -> None:
    """Revoking once more, with an expiry that is earlier or unknown, never shortens a line's life."""
    revoke(path, "a", math.inf, NOW)
    revoke(path, "a", NOW + 1, NOW)
    assert path.read_text().splitlines()[-1] == "a never"


def test_old_lines_are_forgotten(path: Path) -> None:
    """A line goes a day after its token expired, so the list does not grow for ever; `never` stays."""
    revoke(path, "old", NOW, NOW)
    revoke(path, "kept", math.inf, NOW)
    revoke(path, "new", NOW + 10, NOW + FORGET_AFTER_S - 1)
    assert read_revocations(path) == {"old", "kept", "new"}
    revoke(path, "newer", NOW + 10, NOW + FORGET_AFTER_S)
    assert read_revocations(path) == {"kept", "new", "newer"}


def test_people_may_write_it_too(path: Path) -> None:
    """Comments, blank lines and spaces are fine."""
    path.write_text(f"# why\n\n  a   {NOW}  # stolen laptop\nb never\n")
    assert read_revocations(path) == {"a", "b"}


@pytest.mark.parametrize(
    "line", ["a", "a b", "a 1 2", "a -1", "a 1e9", "a NaN", "a Never", "\u00e9 1", "a,b 1", "a " + "9" * 99]
)
def test_a_line_that_is_not_understood_is_an_error(path: Path, line: str) -> None:
    """No line is skipped in silence: the error names the file, and the line if it is text at all."""
    path.write_text(f"fine 1\n{line}\n")
    with pytest.raises(FileError, match=r"line 2: expected 'JTI EXPIRY'|not plain ASCII"):
        read_revocations(path)
    before = path.read_bytes()
    with pytest.raises(FileError):
        revoke(path, "b", NOW, NOW)
    assert path.read_bytes() == before


def test_a_list_has_a_bound(path: Path) -> None:
    """A list over the bound is an error, not a slow start."""
    path.write_bytes(b"#" * (LIMIT_BYTES + 1))
    with pytest.raises(FileError, match="longer than"):
        read_revocations(path)


@pytest.mark.parametrize("token_id", ["", "two words", "a\nb", "#a", "x" * 129, "\u00e9"])
def test_what_is_no_jti_is_not_written(path: Path, token_id: str) -> None:
    """An id that would break the line is refused before the file is touched."""
    with pytest.raises(ValueError, match="not a token's jti"):
        revoke(path, token_id, NOW, NOW)
    assert read_revocations(path) == frozenset()


def test_no_revocation_is_lost_between_two_writers(path: Path) -> None:
    """Two people who revoke at the same time both find their tokens in the list."""

    def write(prefix: str) -> None:
        for n in range(10):
            revoke(path, f"{prefix}{n}", NOW + 60, NOW)

    writers = [threading.Thread(target=write, args=(prefix,)) for prefix in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert read_revocations(path) == {f"{prefix}{n}" for prefix in "ab" for n in range(10)}
