"""Where packets cannot be had, the reason is said by name before anything is tried."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bench.network import namespace
from bench.network.namespace import NoPackets, check_possible


@pytest.fixture(autouse=True)
def possible(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine where it can be done."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "tun").touch()
    monkeypatch.setattr(namespace, "TUN", str(tmp_path / "tun"))


def test_root_on_linux_with_tun_may() -> None:
    """Nothing is said."""
    check_possible()


def test_another_system_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no such namespaces elsewhere."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(NoPackets, match="this is darwin"):
        check_possible()


def test_root_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else may make network namespaces."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NoPackets, match="need root"):
        check_possible()


def test_a_missing_device_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the module that makes it."""
    monkeypatch.setattr(namespace, "TUN", str(tmp_path / "gone"))
    with pytest.raises(NoPackets, match="modprobe tun"):
        check_possible()
