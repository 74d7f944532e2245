"""Files of this machine through a backend: order, rounds, how many at once, and a bad file alone."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_worker import local
from edge_worker.backends.base import Answer, BackendFailed, BadInput, Call, ServedModel
from edge_worker.backends.settings import BackendSettings
from edge_worker.config import ConfigError, LocalConfig
from edge_worker.local import Classifier, LocalRun, run_local
from tests.support.fake_backend import FakeBackend
from tests.support.fake_clock import settle

MODEL = ServedModel("m", "1", 1)
ANSWER = Answer(b'{"predictions":[]}', durations_s={"decode": 0.001, "inference": 0.02})


def config(*images: Path, **changes: object) -> LocalConfig:
    fields: dict[str, object] = {
        "model": "m", "images": images, "top": 3, "repeat": 1, "concurrency": 1, "as_json": False, "backend": "fake",
        "engine": BackendSettings(), "max_file_bytes": 100,
    }  # fmt: skip
    return LocalConfig(**fields | changes)  # type: ignore[arg-type]


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Three files, each with its number in it."""
    files = [tmp_path / f"{number}.jpg" for number in range(3)]
    for number, file in enumerate(files):
        file.write_bytes(b"image %d" % number)
    return files


async def run(backend: FakeBackend, told: LocalConfig) -> LocalRun:
    return await Classifier(backend, told).run(MODEL)


async def test_each_file_is_asked_in_each_round(images: list[Path]) -> None:
    """Whole rounds, in the order given, with the number of labels that was wanted; the times of each are kept."""
    backend = FakeBackend(ANSWER)
    done = await run(backend, config(*images, repeat=2))
    assert [bytes(call.body) for call in backend.calls] == [b"image 0", b"image 1", b"image 2"] * 2
    assert {(call.model, call.path) for call in backend.calls} == {("m", "/inference/m?top=3")}
    assert [one.file for one in done.files] == images
    assert done.answers == 6
    for one in done.files:
        assert one.answer == {"predictions": []}
        assert [list(times) for times in one.runs_s] == [["decode", "inference", "total"]] * 2


async def test_the_total_is_the_call_alone(images: list[Path]) -> None:
    """A file is read before its clock starts, and what the answer says is looked at after the clock has stopped."""
    ticks = iter(range(10))
    done = await Classifier(FakeBackend(ANSWER), config(images[0]), clock=lambda: float(next(ticks))).run(MODEL)
    assert done.files[0].runs_s[0]["total"] == 1.0
    assert (done.wall_s, done.images_per_s) == (3.0, 1 / 3)


async def test_so_many_calls_at_once(images: list[Path]) -> None:
    """As many calls wait for the backend as were asked for, and the next begins when one is answered."""
    backend = FakeBackend()
    running = asyncio.create_task(run(backend, config(*images, concurrency=2)))
    await settle()
    assert len(backend.waiting) == 2
    backend.waiting[0].set_result(ANSWER)
    await settle()
    assert len(backend.waiting) == 3
    for future in backend.waiting[1:]:
        future.set_result(ANSWER)
    assert (await running).answers == 3


class FakeDirectBackend(FakeBackend):
    """Can also be asked on the thread that asks."""

    def direct(self, model: str) -> Callable[[Call], Answer]:
        def answer(call: Call) -> Answer:
            self.direct_calls.append((threading.get_ident(), call))
            if isinstance(self.outcome, Exception):
                raise self.outcome
            return ANSWER

        self.direct_calls: list[tuple[int, Call]] = []
        return answer


async def test_one_call_at_a_time_is_made_on_this_thread(images: list[Path]) -> None:
    """There is nothing between the clock and the engine; the answers and times are as they are otherwise."""
    backend = FakeDirectBackend(ANSWER)
    done = await run(backend, config(*images))
    assert [(thread, bytes(call.body)) for thread, call in backend.direct_calls] == [
        (threading.get_ident(), b"image %d" % number) for number in range(3)
    ]
    assert backend.calls == []
    assert [list(one.runs_s[0]) for one in done.files] == [["decode", "inference", "total"]] * 3


async def test_several_calls_at_once_are_not(images: list[Path]) -> None:
    """They need threads of their own."""
    backend = FakeDirectBackend(ANSWER)
    await run(backend, config(*images, concurrency=2))
    assert (hasattr(backend, "direct_calls"), len(backend.calls)) == (False, 3)


async def test_a_run_on_this_thread_can_be_interrupted(images: list[Path]) -> None:
    """Between two files it hears that it is cancelled."""
    backend = FakeDirectBackend(ANSWER)
    running = asyncio.create_task(run(backend, config(*images, repeat=1_000_000)))
    await settle()
    running.cancel()
    await asyncio.wait([running])
    assert 0 < len(backend.direct_calls) < 100


async def test_a_file_that_fails_on_this_thread_fails_alone(images: list[Path]) -> None:
    """As it does otherwise."""
    done = await run(FakeDirectBackend(BadInput("bad_input", "no image")), config(*images))
    assert [one.error for one in done.files] == ["no image"] * 3


@pytest.mark.parametrize("error", [BadInput("bad_input", "no image"), BackendFailed("no image")])
async def test_a_file_that_fails_is_not_tried_again(images: list[Path], error: Exception) -> None:
    """What the backend says of it is kept, and the rounds after the first leave it out."""
    backend = FakeBackend(error)
    done = await run(backend, config(*images, repeat=5))
    assert [one.error for one in done.files] == ["no image"] * 3
    assert len(backend.calls) == 3
    assert (done.answers, done.images_per_s) == (0, 0.0)


async def test_a_bad_file_fails_alone(images: list[Path], tmp_path: Path) -> None:
    """A missing file, a folder, a pipe that nobody writes to, and a file that is too long; the others are answered."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(bytes(101))
    bad = [tmp_path / name for name in ("none", ".", "pipe", "long")]
    done = await run(FakeBackend(ANSWER), config(images[0], *bad, images[1]))
    assert [one.error for one in done.files] == [
        "",
        "No such file or directory",
        "is not a file",
        "is not a file",
        "is over 100 bytes (--max-body-bytes)",
        "",
    ]
    assert done.answers == 2


async def test_the_longest_file_is_taken(tmp_path: Path) -> None:
    """The limit itself is allowed."""
    file = tmp_path / "long"
    file.write_bytes(bytes(100))
    assert (await run(FakeBackend(ANSWER), config(file))).answers == 1


async def test_every_slot_is_warm_before_the_first_file(images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """One call of the backend's own sample for each slot, and the backend is closed at the end."""
    backend = FakeBackend(ANSWER)
    monkeypatch.setattr(local, "open_backend", lambda name, settings: backend)
    done = await run_local(config(images[0], engine=BackendSettings(slots=2)))
    assert backend.probes == ["m", "m"]
    assert (done.answers, backend.is_closed) == (1, True)


@pytest.mark.parametrize(
    ("models", "text"),
    [
        ([ServedModel("a", "1", 1), ServedModel("b", "1", 1)], "model = 'm': is not here; there are: a, b"),
        ([ServedModel("m", "1", 1, failure="/x: no labels")], "model = 'm': cannot be served: /x: no labels"),
    ],
)
async def test_a_model_that_cannot_be_asked(
    models: list[ServedModel], text: str, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says which there are, or what is wrong with this one; no file is looked at."""
    backend = FakeBackend(ANSWER, models)
    monkeypatch.setattr(local, "open_backend", lambda name, settings: backend)
    with pytest.raises(ConfigError) as caught:
        await run_local(config(images[0]))
    assert str(caught.value) == text
    assert (backend.calls, backend.is_closed) == ([], True)


async def test_a_backend_that_fails_its_own_sample(images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that cannot answer what it made itself would fail every file: it is told once."""
    backend = FakeBackend(BackendFailed("out of memory"))
    monkeypatch.setattr(local, "open_backend", lambda name, settings: backend)
    with pytest.raises(ConfigError, match="its own sample: out of memory"):
        await run_local(config(images[0]))


async def test_a_backend_that_cannot_be_opened() -> None:
    """Its reason is a mistake of the configuration."""
    with pytest.raises(ConfigError, match="must be one of"):
        await run_local(config(Path("x"), backend="torch"))
