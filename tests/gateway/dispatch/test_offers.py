"""What the dispatcher tells of a model's announcements."""

from __future__ import annotations

import asyncio

from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.settings import DispatchSettings
from tests.support.fake_clock import FakeClock, settle
from tests.support.fake_link import FakeLink, offer


async def test_tells_what_workers_announce() -> None:
    """Of a named worker its own announcement, of any worker one that is here, and of nobody none."""
    dispatcher = Dispatcher(DispatchSettings(), clock=FakeClock())
    old, new = offer("m", version="1"), offer("m", version="2")
    first, second = FakeLink("w1"), FakeLink("w2")
    dispatcher.join(first, [old])
    dispatcher.join(second, [new])
    assert dispatcher.offer("m") in (old, new)
    assert (dispatcher.offer("m", "w1"), dispatcher.offer("m", "w2")) == (old, new)
    assert dispatcher.offer("m", "w3") is None
    assert dispatcher.offer("other") is None
    assert (dispatcher.versions("m"), dispatcher.versions("other")) == (["1", "2"], [])
    dispatcher.leave(first, "gone")
    assert (dispatcher.offer("m"), dispatcher.versions("m")) == (new, ["2"])
    dispatcher.leave(second, "gone")
    assert (dispatcher.offer("m"), dispatcher.versions("m")) == (None, [])


async def test_prefers_a_worker_that_is_ready() -> None:
    """While one worker is proven and another is broken, the proven one's announcement stands for the model."""
    dispatcher = Dispatcher(DispatchSettings(), clock=FakeClock())
    probing = asyncio.create_task(dispatcher.run())
    dispatcher.join(FakeLink("w1"), [offer("m", version="1", failure="broken file")])
    dispatcher.join(FakeLink("w2"), [offer("m", version="2")])
    await settle()
    found = dispatcher.offer("m")
    assert found is not None
    assert found.version == "2"
    probing.cancel()
    await asyncio.gather(probing, return_exceptions=True)
