"""What the tests of the HTTP side share."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
import structlog


@pytest.fixture
def request_lines() -> Iterator[list[MutableMapping[str, Any]]]:
    """The log's lines about requests, as they are written."""
    with structlog.testing.capture_logs() as lines:
        yield lines
