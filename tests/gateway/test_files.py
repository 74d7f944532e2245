"""gateway/files.py: read within a bound, written whole or not at all."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from gateway.files import FileError, locked, read_bounded, write_atomically


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    """A file of exactly the bound is read; one byte more is refused with the setting and the file."""
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bounded("setting", path, 5) == b"12345"
    with pytest.raises(FileError, match=f"^setting: {path}: longer than 4 bytes$"):
        read_bounded("setting", path, 4)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file and a directory are errors that say which and why."""
    with pytest.raises(FileError, match=r"^setting: .*/nothing: no such file or directory$"):
        read_bounded("setting", tmp_path / "nothing", 5)
    with pytest.raises(FileError, match="is a directory"):
        read_bounded("setting", tmp_path, 5)


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_write_replaces_the_file_with_its_mode(tmp_path: Path, mode: int) -> None:
    """The new content and mode are in place whatever mode the old file and the umask have, and nothing else is left."""
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o666)
    write_atomically("setting", path, b"new", mode)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == mode
    assert os.listdir(tmp_path) == ["file"]


def test_a_write_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full, the old file stays, the temporary one goes, and the error names the file."""
    path = tmp_path / "file"
    path.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"^setting: .*/file: no space left on device$"):
        write_atomically("setting", path, b"new", 0o600)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_second_writer_waits(tmp_path: Path) -> None:
    """While one writer holds the directory another cannot take it, and after that it can."""
    other = os.open(tmp_path, os.O_RDONLY)
    try:
        with locked("setting", tmp_path), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(other)


def test_a_directory_that_is_not_there_cannot_be_locked(tmp_path: Path) -> None:
    """The error names the directory."""
    with pytest.raises(FileError, match="nowhere: no such file"), locked("setting", tmp_path / "nowhere"):
        pass
