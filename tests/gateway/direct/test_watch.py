"""When a direct worker is there and when it is not. Rounds are the test's to give: no time passes by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from gateway.direct.connection import Address
from gateway.direct.watch import DirectWorkers, Entry, Heartbeat
from gateway.dispatch.model import Link, LinkLost, ModelOffer
from gateway.files import FileError
from tests.support import certificates
from tests.support.fake_link import make_job
from tests.support.scripted_server import Reply, scripted_server
from tests.support.worker_http import until

MODEL = {"name": "m", "version": "1", "slots": 2, "failure": "", "metadata": {"labels": 10}}
OFFER = ModelOffer("m", "1", 2, "", {"labels": 10})


def nested(levels: int) -> object:
    """Lists in lists."""
    return [nested(levels - 1)] if levels else []


class Workforce:
    """Notes what dispatch is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.links: list[Link] = []
        self.others: list[str] = []

    def join(self, link: Link, offers: Sequence[ModelOffer]) -> None:
        self.told.append(("join", link.worker, *offers))
        self.links.append(link)

    def leave(self, link: Link, reason: str) -> None:
        self.told.append(("leave", link.worker))
        self.reason = reason

    def update(self, link: Link, offers: Sequence[ModelOffer]) -> None:
        self.told.append(("update", link.worker, *offers))

    def drain_worker(self, link: Link) -> None:
        self.told.append(("drain", link.worker))

    def workers_view(self) -> Sequence[Mapping[str, object]]:
        return [{"worker": name} for name in self.others]


class Scene:
    """One worker whose words are the test's, watched round by round."""

    def __init__(self) -> None:
        self.said: object = {"session": "s1", "software": "edge-worker/1", "draining": False, "models": [MODEL]}
        self.is_silent = False
        self.asked = 0
        self.workforce = Workforce()
        self._round = asyncio.Semaphore(0)
        self._rounds = 0

    async def reply(self, head: bytes, _body: bytes, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        if self.is_silent:
            writer.close()
            return
        if head.startswith(b"POST"):
            await asyncio.Event().wait()
        body = json.dumps(self.said).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async def sleep(self, _seconds: float) -> None:
        self._rounds += 1
        await self._round.acquire()

    async def round(self, **changes: object) -> list[tuple[object, ...]]:
        """One more look, after the worker's words have changed; what dispatch was told meanwhile."""
        assert isinstance(self.said, dict)
        self.said.update(changes)
        self.workforce.told.clear()
        before = self._rounds
        self._round.release()
        await until(lambda: self._rounds > before)
        return list(self.workforce.told)

    @contextlib.asynccontextmanager
    async def watched(self, reply: Reply | None = None) -> AsyncIterator[Scene]:
        async with scripted_server(reply or self.reply) as url:
            entry = Entry("w", Address(url), "direct.workers.w")
            workers = DirectWorkers([entry], self.workforce, Heartbeat(30.0, 3), sleep=self.sleep)
            running = asyncio.create_task(workers.run())
            try:
                await until(lambda: self._rounds)
                yield self
            finally:
                running.cancel()
                await asyncio.wait([running])


async def test_a_worker_joins_with_what_it_says() -> None:
    """Its models with slots and metadata; its address, session and software for the operator; a round trip."""
    async with Scene().watched() as scene:
        assert scene.workforce.told == [("join", "w", OFFER)]
        (link,) = scene.workforce.links
        assert link.about["session"] == "s1"
        assert link.about["software"] == "edge-worker/1"
        assert str(link.about["address"]).startswith("http://")
        assert link.rtt_s > 0
        assert await scene.round() == []


async def test_a_worker_whose_models_change_is_updated() -> None:
    """Told once, with all of them."""
    async with Scene().watched() as scene:
        broken = {**MODEL, "failure": "the engine hangs"}
        offer = ModelOffer("m", "1", 2, "the engine hangs", {"labels": 10})
        assert await scene.round(models=[broken]) == [("update", "w", offer)]
        assert await scene.round() == []


async def test_a_worker_is_lost_after_so_many_misses() -> None:
    """Two are forgiven, the third ends it; what is in flight is lost; and it joins anew when it is back."""
    async with Scene().watched() as scene:
        (link,) = scene.workforce.links
        asking = asyncio.create_task(link.exchange(make_job()).__aenter__())
        await until(lambda: scene.asked == 2)
        scene.is_silent = True
        assert await scene.round() == []
        scene.is_silent = False
        assert await scene.round() == []
        scene.is_silent = True
        assert [await scene.round() for _ in range(3)] == [[], [], [("leave", "w")]]
        assert "3 heartbeats" in scene.workforce.reason
        with pytest.raises(LinkLost):
            await asking
        assert await scene.round() == []
        scene.is_silent = False
        assert await scene.round() == [("join", "w", OFFER)]


async def test_a_worker_that_was_started_anew_joins_anew() -> None:
    """It is another session: what was known of the old one is worth nothing."""
    async with Scene().watched() as scene:
        assert await scene.round(session="s2") == [("leave", "w"), ("join", "w", OFFER)]


async def test_a_worker_that_drains_gets_no_more() -> None:
    """Told once; one that is leaving does not join."""
    async with Scene().watched() as scene:
        assert await scene.round(draining=True) == [("drain", "w")]
        assert await scene.round() == []
        assert await scene.round(session="s2") == [("leave", "w")]
        assert await scene.round(draining=False) == [("join", "w", OFFER)]


async def test_a_name_that_has_dialled_in_is_left_alone() -> None:
    """No worker takes another's place: the direct one waits until the name is free."""
    scene = Scene()
    scene.workforce.others = ["w"]
    async with scene.watched():
        assert scene.workforce.told == []
        scene.workforce.others = []
        assert await scene.round() == [("join", "w", OFFER)]


@pytest.mark.parametrize(
    "said",
    [
        {"session": "s", "models": [{**MODEL, "slots": 0}]},
        {"session": "s", "models": [{**MODEL, "slots": "2"}]},
        {"session": "s", "models": [{**MODEL, "metadata": []}]},
        {"session": "s", "models": [{**MODEL, "name": 7}]},
        {"session": "s", "models": [{**MODEL, "name": ""}]},
        {"session": "s", "models": [{**MODEL, "name": "a/b"}]},
        {"session": "s", "models": [{**MODEL, "name": "m" * 129}]},
        {"session": "s", "models": [MODEL, MODEL]},
        {"session": "s", "models": [{**MODEL, "metadata": {"deep": nested(16)}}]},
        {"session": "s", "models": [7]},
        {"session": "s", "models": 7},
        {"models": []},
        [],
    ],
)
async def test_what_is_no_worker_does_not_join(said: object) -> None:
    """Whatever else listens at the address."""
    scene = Scene()
    scene.said = said
    async with scene.watched():
        assert scene.workforce.told == []


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "500 Oh"])
async def test_an_address_that_answers_something_else_is_asked_again(status: str) -> None:
    """It may be a worker that is too old, or a proxy whose worker is not there yet: the watch goes on."""
    body = json.dumps({"code": "bad_request", "detail": "no"}).encode()
    scene = Scene()
    worker = scene.reply

    async def reply(head: bytes, request: bytes, writer: asyncio.StreamWriter) -> None:
        scene.reply = worker  # type: ignore[method-assign]
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    async def first_that(head: bytes, request: bytes, writer: asyncio.StreamWriter) -> None:
        await scene.reply(head, request, writer)

    scene.reply = reply  # type: ignore[method-assign]
    async with scene.watched(first_that):
        assert scene.workforce.told == []
        assert await scene.round() == [("join", "w", OFFER)]


async def test_a_bug_about_one_worker_does_not_end_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, and counts as a miss."""
    with monkeypatch.context() as patch:
        patch.setattr("gateway.direct.watch._said", lambda _document: 1 / 0)
        scene = Scene()
        watching = scene.watched()
        await watching.__aenter__()
        assert scene.workforce.told == []
    assert await scene.round() == [("join", "w", OFFER)]
    await watching.__aexit__(None, None, None)


async def test_the_end_leaves_nothing_behind() -> None:
    """Every worker has left, and no task or connection stays."""
    scene = Scene()
    async with scene.watched():
        pass
    assert scene.workforce.told[-1] == ("leave", "w")
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_files_are_read_at_the_start(tmp_path: Path) -> None:
    """One that cannot be used is named with its setting."""
    ca = certificates.made(tmp_path / "pki") / "ca.pem"
    no_token = Address("https://h", ca, token_file=tmp_path / "gone")
    for address, field in (
        (Address("https://h", Path(__file__)), "direct.workers.w.ca_file"),
        (Address("https://h", ca, Path(__file__)), "direct.workers.w.certificate_file"),
        (no_token, "direct.workers.w.token_file"),
    ):
        with pytest.raises(FileError, match=field):
            DirectWorkers([Entry("w", address, "direct.workers.w")], Workforce(), Heartbeat(1, 3))
