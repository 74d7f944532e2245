"""A stretch of a task that another may end."""

from __future__ import annotations

import asyncio

import pytest

from gateway.dispatch.scope import Scope
from tests.support.fake_clock import settle


class Stay:
    """A task that waits within a scope."""

    def __init__(self) -> None:
        self.scope = Scope()
        self.here: asyncio.Future[str] = asyncio.Future()
        self.after: asyncio.Future[None] = asyncio.Future()
        self.task = asyncio.create_task(self._stay())

    async def _stay(self) -> str:
        with self.scope:
            answer = await self.here
        await self.after
        return answer


async def test_expired() -> None:
    """A task that waits within it is ended with TimeoutError, and is not left cancelled."""
    stay = Stay()
    await settle()
    stay.scope.expire()
    with pytest.raises(TimeoutError):
        await stay.task
    assert stay.scope.is_expired
    assert stay.task.cancelling() == 0


async def test_cancelled_too() -> None:
    """A task that others cancel as well is cancelled: they wait for that."""
    stay = Stay()
    await settle()
    stay.scope.expire()
    stay.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stay.task


async def test_answer_of_the_same_moment() -> None:
    """What was waited for and is here when it expires is kept."""
    stay = Stay()
    await settle()
    stay.here.set_result("here")
    stay.scope.expire()
    stay.after.set_result(None)
    assert await stay.task == "here"
    assert not stay.scope.is_expired


async def test_left() -> None:
    """Nothing happens to a task that has left it."""
    stay = Stay()
    stay.here.set_result("here")
    await settle()
    stay.scope.expire()
    await settle()
    assert not stay.task.done()
    stay.after.set_result(None)
    assert await stay.task == "here"


async def test_other_errors() -> None:
    """What is raised within it stays what it is, expired or not."""
    stay = Stay()
    await settle()
    stay.here.set_exception(KeyError("bug"))
    stay.scope.expire()
    with pytest.raises(KeyError):
        await stay.task
