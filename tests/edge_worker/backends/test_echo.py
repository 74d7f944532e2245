"""Echo answers with what it was sent, after a service time that the test holds in its hand."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest

from edge_worker.backends.base import BackendFailed, BadInput, Call
from edge_worker.backends.echo import EchoBackend
from edge_worker.backends.service_time import parse_service_time
from edge_worker.backends.settings import BackendSettings


class HeldSleep:
    """A sleep that ends when the test says so, and remembers what was asked for."""

    def __init__(self) -> None:
        self.asked_s: list[float] = []
        self._end = asyncio.Event()

    async def __call__(self, time_s: float) -> None:
        self.asked_s.append(time_s)
        await self._end.wait()

    def end(self) -> None:
        self._end.set()


def call(model: str = "echo", body: bytes = b"12345") -> Call:
    return Call(model, "POST", f"/inference/{model}", (), body)


async def until_idle() -> None:
    """Every task has run until it waits for something that only the test can give."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_answer_is_the_size_of_the_body() -> None:
    """Without a service time and without a digest, an answer is its size."""
    backend = EchoBackend(BackendSettings())
    answer = await backend.answer(call())
    assert json.loads(answer.body) == {"model": "echo", "model_version": "1", "bytes": 5}
    assert list(answer.durations_s) == ["inference"]


async def test_the_answer_has_a_digest_if_that_is_wished() -> None:
    """So that a test can see that a body arrived as it was sent, as a view too."""
    backend = EchoBackend(BackendSettings(echo_sha256=True))
    answer = await backend.answer(Call("echo", "POST", "/inference/echo", (), memoryview(b"12345")))
    assert json.loads(answer.body)["sha256"] == hashlib.sha256(b"12345").hexdigest()


@pytest.mark.parametrize("query", ["output=raw", "query=cat"])
async def test_what_only_a_network_could_answer_is_refused(query: str) -> None:
    """Echo has no numbers and knows no groups; anything else in the path is nothing to it."""
    backend = EchoBackend(BackendSettings())
    with pytest.raises(BadInput, match="echo has no network") as caught:
        await backend.answer(Call("echo", "POST", f"/inference/echo?{query}", (), b"12345"))
    assert caught.value.code == "bad_request"
    assert (await backend.answer(Call("echo", "POST", "/inference/echo?top=3", (), b"12345"))).status == 200


async def test_each_name_is_a_model_with_the_same_slots() -> None:
    """The names are announced with slots, and what the engine is."""
    settings = BackendSettings(slots=3, echo_models=("a", "b"), echo_service_time=parse_service_time("20ms"))
    models = await EchoBackend(settings).start()
    assert [(model.name, model.slots, model.failure) for model in models] == [("a", 3, ""), ("b", 3, "")]
    assert models[0].metadata == {"engine": "echo", "service_time": "constant:20ms", "busy": False}


async def test_it_sleeps_for_its_service_time_and_says_how_long_it_was() -> None:
    """The time is drawn, slept through and reported by the clock."""
    sleep, times = HeldSleep(), iter([100.0, 100.25])
    settings = BackendSettings(echo_service_time=parse_service_time("20ms"))
    backend = EchoBackend(settings, sleep, clock=lambda: next(times))
    sleep.end()
    answer = await backend.answer(call())
    assert sleep.asked_s == [0.02]
    assert answer.durations_s == {"inference": 0.25}


async def test_no_more_calls_than_slots_are_in_their_service_time() -> None:
    """The third call of two slots begins when one of the others ends; another model has slots of its own."""
    sleep = HeldSleep()
    settings = BackendSettings(slots=2, echo_models=("a", "b"), echo_service_time=parse_service_time("20ms"))
    backend = EchoBackend(settings, sleep)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(backend.answer(call("a")))
        await until_idle()
        assert len(sleep.asked_s) == 2
        group.create_task(backend.answer(call("b")))
        await until_idle()
        assert len(sleep.asked_s) == 3
        sleep.end()
    assert len(sleep.asked_s) == 4


async def test_a_cancelled_call_gives_its_slot_back() -> None:
    """A call that is cancelled in its service time leaves room for the next."""
    sleep = HeldSleep()
    backend = EchoBackend(BackendSettings(echo_service_time=parse_service_time("20ms")), sleep)
    task = asyncio.create_task(backend.answer(call()))
    await until_idle()
    task.cancel()
    await asyncio.wait([task])
    sleep.end()
    assert json.loads((await backend.answer(call())).body)["bytes"] == 5


async def test_the_same_seed_gives_the_same_times() -> None:
    """Two backends with one seed sleep alike; another seed does not."""
    slept = []
    for seed in (1, 1, 2):
        sleep = HeldSleep()
        sleep.end()
        settings = BackendSettings(echo_service_time=parse_service_time("exponential:20ms"), seed=seed)
        backend = EchoBackend(settings, sleep)
        for _ in range(5):
            await backend.answer(call())
        slept.append(sleep.asked_s)
    assert slept[0] == slept[1] != slept[2]


async def test_busy_echo_computes_until_its_time_is_over() -> None:
    """It asks the clock until the end has come, on another thread, and sleeps never."""
    now = [0.0]

    def clock() -> float:
        now[0] += 0.005
        return now[0]

    sleep = HeldSleep()
    settings = BackendSettings(echo_busy=True, echo_service_time=parse_service_time("20ms"))
    backend = EchoBackend(settings, sleep, clock)
    answer = await backend.answer(call())
    await backend.close()
    assert sleep.asked_s == []
    assert answer.durations_s["inference"] >= 0.02


async def test_a_model_that_is_not_served_is_refused() -> None:
    """A call for another name is the caller's fault, a probe of it ours."""
    backend = EchoBackend(BackendSettings())
    with pytest.raises(BadInput, match="'other'") as caught:
        await backend.answer(call("other"))
    assert caught.value.code == "unknown_model"
    with pytest.raises(BackendFailed, match="'other'"):
        await backend.probe("other")


async def test_a_probe_takes_the_way_of_a_call() -> None:
    """It is answered as any call is."""
    assert json.loads((await EchoBackend(BackendSettings()).probe("echo")).body)["bytes"] == len(b"probe")
