"""Settings that every test shares. Fixtures live beside the tests that use them; pairs and fakes in tests/support."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# No deadline: a loaded machine is no failure. The same examples in each run: a red test stays red until it is mended.
# `make test ARGS=--hypothesis-profile=explore` looks further.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=2_000)
settings.load_profile("repeatable")

SYSTEM = Path(__file__).parent / "system"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks everything under tests/system, so that `-m 'not system'` leaves out what starts processes and waits."""
    for item in items:
        if item.path.is_relative_to(SYSTEM):
            item.add_marker("system")
