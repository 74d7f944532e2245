"""Task groups speak in groups of exceptions; clients are told one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import GatewayError


@contextmanager
def first_error() -> Iterator[None]:
    """Turns a group made of GatewayErrors alone into its first one; anything unexpected stays as it is."""
    try:
        yield
    except BaseExceptionGroup as group:
        expected, unexpected = group.split(GatewayError)
        if expected is None or unexpected is not None:
            raise
        error: BaseException = expected
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
