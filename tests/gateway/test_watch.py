"""gateway/watch.py: one task that looks at files now and then."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.watch import FileStamps, Watcher


class Owner:
    """Counts how often it is asked, and can be faulty."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.asked = 0
        self._fault = fault

    def reload_if_changed(self) -> bool:
        self.asked += 1
        if self._fault is not None:
            raise self._fault
        return False


def test_each_change_shows_once(tmp_path: Path) -> None:
    """A file that appears, grows, is replaced or goes away has changed, once for each time."""
    path = tmp_path / "file"
    stamps = FileStamps([tmp_path / "other", path])
    assert not stamps.have_changed()
    for change in (
        lambda: path.write_text("a"),
        lambda: path.write_text("ab"),
        lambda: (tmp_path / "new").rename(path) if (tmp_path / "new").write_text("ab") else None,
        path.unlink,
    ):
        change()
        assert stamps.have_changed()
        assert not stamps.have_changed()


def test_a_swapped_symlink_is_a_change(tmp_path: Path) -> None:
    """What counts is the file behind the link, as with the mounted secrets of an orchestrator."""
    for name in ("one", "two"):
        (tmp_path / name).write_text("same")
    link = tmp_path / "link"
    link.symlink_to("one")
    stamps = FileStamps([link])
    link.unlink()
    link.symlink_to("two")
    assert stamps.have_changed()


async def test_the_watcher_looks_after_each_interval() -> None:
    """Each owner is asked once per interval, until the task is cancelled."""
    owners = [Owner(), Owner()]
    slept: list[float] = []

    async def sleep(interval_s: float) -> None:
        if len(slept) == 3:
            raise asyncio.CancelledError
        slept.append(interval_s)

    with pytest.raises(asyncio.CancelledError):
        await Watcher(owners, interval_s=7.0, sleep=sleep).run()
    assert slept == [7.0, 7.0, 7.0]
    assert [owner.asked for owner in owners] == [3, 3]


def test_a_faulty_owner_does_not_stop_the_others() -> None:
    """An exception is logged with its owner's name, and the next owner is still asked."""
    last = Owner()
    with capture_logs() as logs:
        Watcher([Owner(ValueError("oops")), last]).poll()
    assert [(log["event"], log["owner"]) for log in logs] == [("reload_failed", "Owner")]
    assert last.asked == 1
