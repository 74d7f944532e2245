"""Who reads an engine process's stream: the event loop while a thread is free, else the thread that is done first."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from edge_worker.backends.engine_process.desk import IN_USE_S, READ_BYTES, Desk
from edge_worker.backends.engine_process.messages import (
    Alive,
    Answered,
    Ask,
    Cancel,
    Close,
    Head,
    Message,
    Probe,
    encode,
)
from edge_worker.backends.lanes import Lanes, Work
from tests.support.fake_clock import FakeClock, settle
from tests.support.held import WAIT_S, Held
from tests.support.worker_http import until


class Bench:
    """A desk, models with a thread each, and the far end of its stream."""

    def __init__(self, *models: str) -> None:
        self.clock = FakeClock()
        self.far, near = socket.socketpair()
        self.desk = Desk(near, self._take, self._passed, self.ended, self.clock.now)
        self.lines = {model: self.desk.line() for model in models}
        self.lanes = {model: Lanes(model, 1, WAIT_S, FakeClock(), lambda: None, self.lines[model]) for model in models}
        self.calls: dict[int, Held] = {}
        self.works: dict[int, Work] = {}
        self.passed: list[Message] = []
        self.ends: list[str] = []
        self.loop_thread = threading.get_ident()

    def _take(self, message: Message) -> bool:
        match message.head:
            case Ask(number, model):
                self.calls[number] = Held()
                self.works[number] = Work(self.lanes[model], self.calls[number], lambda *_: None)
                self.works[number].begin()
            case Cancel(number):
                self.works[number].claim()
            case _:
                return False
        return True

    def _passed(self, message: Message) -> None:
        assert threading.get_ident() == self.loop_thread
        self.passed.append(message)

    def ended(self, reason: str) -> None:
        assert threading.get_ident() == self.loop_thread
        self.ends.append(reason)

    def say(self, head: Head, body: bytes = b"") -> None:
        self.far.sendall(b"".join(encode(Message(head, body))))

    def ask(self, number: int, model: str = "m", body: bytes = b"") -> None:
        self.say(Ask(number, model, "POST", "/", (), None), body)

    async def begin(self, number: int, model: str = "m") -> Held:
        """A call that the event loop reads, once its thread has it."""
        self.ask(number, model)
        await until(lambda: number in self.calls and self.calls[number].begun.is_set())
        return self.calls[number]

    def wait_begun(self, number: int) -> Held:
        """The same without a turn of the event loop."""
        end = threading.Event()
        for _ in range(int(WAIT_S * 100)):
            if number in self.calls:
                break
            end.wait(0.01)
        assert self.calls[number].begun.wait(WAIT_S)
        return self.calls[number]


@asynccontextmanager
async def bench(*models: str) -> AsyncIterator[Bench]:
    made = Bench(*models)
    made.desk.open()
    made.desk.share(True)
    async with asyncio.timeout(WAIT_S):
        try:
            yield made
        finally:
            made.desk.share(False)
            for call in made.calls.values():
                call.end.set()
            for lanes in made.lanes.values():
                await lanes.close()
            made.desk.close()
            made.far.close()


async def test_a_thread_that_is_done_reads_its_next_call_itself() -> None:
    """Nobody reads while it computes, and no turn of the event loop is between two calls."""
    async with bench("m") as on:
        first = await on.begin(1)
        on.ask(2)
        await settle()
        assert list(on.calls) == [1]
        first.end.set()
        on.wait_begun(2)


async def test_when_nothing_is_there_the_event_loop_reads_again() -> None:
    """However often they take turns."""
    async with bench("m") as on:
        for number in (1, 3, 5):
            call = await on.begin(number)
            on.ask(number + 1)
            call.end.set()
            on.wait_begun(number + 1).end.set()


async def test_what_is_taken_back_before_its_turn_is_never_begun() -> None:
    """A thread reads all that was said before it begins."""
    async with bench("m") as on:
        first = await on.begin(1)
        on.ask(2)
        on.say(Cancel(2))
        on.ask(3)
        first.end.set()
        on.wait_begun(3)
        assert not on.calls[2].begun.is_set()


async def test_what_a_thread_cannot_take_goes_to_the_event_loop() -> None:
    """In order."""
    async with bench("m") as on:
        first = await on.begin(1)
        on.say(Probe(2, "m"))
        on.say(Close())
        first.end.set()
        await until(lambda: len(on.passed) == 2)
        assert [message.head for message in on.passed] == [Probe(2, "m"), Close()]


async def test_a_call_that_takes_many_reads_arrives_whole() -> None:
    """Begun by a thread, and gone on with by the event loop."""
    async with bench("m") as on:
        first = await on.begin(1)
        body = bytes(4 << 20)
        saying = asyncio.create_task(asyncio.to_thread(on.ask, 2, "m", body))
        first.end.set()
        await saying
        await until(lambda: 2 in on.calls and on.calls[2].begun.is_set())


async def test_a_thread_hands_on_what_is_for_another_model() -> None:
    """Whose threads are all busy too."""
    async with bench("m", "other") as on:
        (await on.begin(1)).end.set()
        calls = [await on.begin(2, "other"), await on.begin(3)]
        on.ask(4, "other")
        on.ask(5)
        calls[1].end.set()
        on.wait_begun(5)
        assert not on.calls[4].begun.is_set()
        calls[0].end.set()
        on.wait_begun(4)


async def test_while_a_model_in_use_has_a_free_thread_the_event_loop_reads() -> None:
    """So that its calls wait for no other model's; one that nobody has asked for a while waits for the next poll."""
    async with bench("m", "other") as on:
        (await on.begin(1, "other")).end.set()
        await on.begin(2)
        (await on.begin(3, "other")).end.set()
        await until(lambda: on.lines["other"].free == 1 and on.desk._loop_reads)
        await on.clock.advance(IN_USE_S)
        on.ask(4)  # is read, and no more after it
        await until(lambda: 4 in on.calls)
        on.ask(5, "other")
        await settle()
        assert 5 not in on.calls
        on.desk.poll()
        on.wait_begun(5)


async def test_after_a_call_that_no_socket_holds_the_event_loop_reads() -> None:
    """So that the next one is there, whole, when a thread asks for it; for a while."""
    async with bench("m") as on:
        await asyncio.to_thread(on.ask, 1, "m", bytes(READ_BYTES + 1))
        await until(lambda: 1 in on.calls)
        on.ask(2)
        await until(lambda: 2 in on.calls)
        await on.clock.advance(IN_USE_S)
        on.ask(3)  # is read, and no more after it
        await until(lambda: 3 in on.calls)
        on.ask(4)
        await settle()
        assert 4 not in on.calls


async def test_while_no_model_is_in_use_the_event_loop_reads() -> None:
    """No thread would come."""
    async with bench("m") as on:
        for count in (1, 2):
            on.say(Probe(count, "m"))
            await until(lambda: len(on.passed) == count)  # noqa: B023  # within the turn


async def test_a_desk_that_is_not_shared_is_read_by_the_event_loop() -> None:
    """An engine that hangs would read nothing any more."""
    async with bench("m") as on:
        await on.begin(1)
        on.desk.share(False)
        on.say(Probe(2, "m"))
        await until(lambda: on.passed)


@pytest.mark.parametrize(
    ("said", "reason"), [(b"", ""), (b"\x00\x00\x00\x02\x00\x00\x00\x00[]" * 2, "a message that is no JSON object")]
)
@pytest.mark.parametrize("by_thread", [False, True])
async def test_an_end_is_heard_of_once(said: bytes, reason: str, by_thread: bool) -> None:
    """Whoever reads it: that the other side has closed, or what made no sense. What is sent then is dropped."""
    async with bench("m") as on:
        calls = [await on.begin(1)] if by_thread else []
        on.far.sendall(said)
        on.far.close()
        for call in calls:
            call.end.set()
        await until(lambda: on.ends)
        await settle()
        (heard,) = on.ends
        assert heard.startswith(reason)
        assert bool(heard) == bool(reason)
        on.desk.poll()
        on.desk.send(Message(Alive()))


async def test_messages_of_several_threads_do_not_mix() -> None:
    """Each is written whole, also where the far end is slow."""
    async with bench() as on:
        bodies = [bytes([number]) * (1 << 20) for number in range(4)]
        told = [Message(Answered(1, "image/png", 200, {}, ()), body) for body in bodies]
        sending = [asyncio.create_task(asyncio.to_thread(on.desk.send, one)) for one in told]
        size = len(b"".join(encode(told[0])))

        def read() -> list[bytes]:
            return [on.far.recv(size, socket.MSG_WAITALL)[-(1 << 20) :] for _ in bodies]

        assert sorted(await asyncio.to_thread(read)) == bodies
        await asyncio.gather(*sending)
