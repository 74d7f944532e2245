"""The client's tests see no proxy, token or CA of the machine they run on."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def plain_environment() -> Iterator[None]:
    """For every test here."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.lower().endswith("_proxy") or name in ("GATEWAY_TOKEN", "GATEWAY_CA"):
                patch.delenv(name)
        yield
