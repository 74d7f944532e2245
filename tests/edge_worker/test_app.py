"""The worker, put together: what it starts, what it shows its links, and how it stops."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

import pytest

from edge_worker import app
from edge_worker.app import TokenSource, Worker
from edge_worker.backends.base import Answer, ServedModel
from edge_worker.backends.settings import BackendSettings
from edge_worker.config import ConfigError, WorkerConfig
from edge_worker.health import Health
from edge_worker.http import readiness
from edge_worker.http.readiness import Readiness
from edge_worker.link import GatewayLink
from edge_worker.loading import WorkUndone
from tests.support.fake_backend import FakeBackend
from tests.support.far_end import FarGateway, run_bounded, until
from tests.support.memory_channel import memory_channels
from wire.channel import Channel
from wire.errors import CloseCode
from wire.events import LoadReported, ModelsChanged, TokenReceived
from wire.frames import Model
from wire.limits import MAX_TOKEN_BYTES


def test_a_token_file_is_read_anew_each_time(tmp_path: Path) -> None:
    """White space around the token does not count, and what is written later is what is read later."""
    file = tmp_path / "token"
    source = TokenSource(None, file)
    file.write_text(" token-1\n")
    assert source.read() == "token-1"
    file.write_text("token-2\n")
    assert source.read() == source.read_if_whole() == "token-2"


@pytest.mark.parametrize("content", [b"", b"\n", b"two tokens", b"t\x00ken", "tökèn".encode(), b"x" * 20_000])
def test_a_file_that_holds_no_token(tmp_path: Path, content: bytes) -> None:
    """Empty, half written, binary or endless: an error for the dial, and no news for a tunnel that is up."""
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(OSError, match="does not hold one token"):
        TokenSource(None, file).read()
    assert TokenSource(None, file).read_if_whole() is None


def test_the_longest_token_is_read(tmp_path: Path) -> None:
    """What a TOKEN frame can carry can be in the file."""
    file = tmp_path / "token"
    file.write_bytes(b"x" * MAX_TOKEN_BYTES + b"\n")
    assert len(TokenSource(None, file).read()) == MAX_TOKEN_BYTES


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """The message is the system's own, with the path."""
    source = TokenSource(None, tmp_path / "none")
    with pytest.raises(OSError, match="none"):
        source.read()
    assert source.read_if_whole() is None


def test_a_token_that_was_given_stays() -> None:
    """Without a file there is one token for ever."""
    assert TokenSource("token-1", None).read() == "token-1"


class Site:
    """A worker with a fake backend, and gateways that it reaches over memory channels."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, backend: FakeBackend, *, gateways: int = 1, **changes: object):
        self.loop = asyncio.get_running_loop()
        self.backend = backend
        self.gateways: dict[str, FarGateway] = {}
        self.tokens: list[tuple[str, str]] = []
        self.helpers: list[asyncio.Task[object]] = []
        urls = tuple(f"wss://g{number}/v1/tunnel" for number in range(1, gateways + 1))
        fields: dict[str, object] = {
            "gateways": urls, "name": "lab-1", "token": "token-1", "token_file": None, "ca_file": None,
            "certificate_file": None, "key_file": None, "backend": "echo", "engine": BackendSettings(),
            "max_body_bytes": 1 << 20, "drain_grace_s": 30.0, "health_socket": None, "log_format": "json",
            "log_level": "info",
        }  # fmt: skip
        monkeypatch.setattr(app, "open_apart", lambda *_: backend)
        monkeypatch.setattr(app, "GatewayLink", self._link)
        self.worker = Worker(WorkerConfig(**fields | changes))  # type: ignore[arg-type]
        self.run = asyncio.create_task(self.worker.run())

    def _link(self, url: str, *args: object, **kwargs: object) -> GatewayLink:
        return GatewayLink(url, *args, **kwargs, dial=self._dial, clock=self.loop.time)  # type: ignore[arg-type]

    async def _dial(self, url: str, token: str, tls: ssl.SSLContext) -> Channel:
        self.tokens.append((url, token))
        far, near = memory_channels()
        self.gateways[url] = FarGateway(far)
        self.helpers.append(asyncio.create_task(self.gateways[url].let_in()))
        return near

    async def up(self) -> list[FarGateway]:
        await until(lambda: self.worker._links and all(link.is_up for link in self.worker._links))
        return list(self.gateways.values())

    async def stopped(self) -> None:
        self.worker.stop()
        await self.run
        for gateway in self.gateways.values():
            await gateway.ended()


def test_a_worker_serves_and_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was accepted is answered after `stop`; then the backend is closed and the run is over."""

    async def main() -> None:
        site = Site(monkeypatch, FakeBackend())
        (gateway,) = await site.up()
        exchange = gateway.ask()
        await until(lambda: site.backend.waiting)
        site.worker.stop()
        await asyncio.sleep(2.0)
        assert not site.backend.is_closed
        site.backend.waiting[0].set_result(Answer(b"done"))
        assert (await gateway.answer(exchange))[1] == b"done"
        await site.stopped()
        assert site.backend.is_closed

    run_bounded(main)


def test_work_that_outlasts_the_grace_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """At one of two gateways: the worker leaves all the same, and not as if all had been finished."""

    async def main() -> None:
        site = Site(monkeypatch, FakeBackend(), gateways=2, drain_grace_s=5.0)
        one, _ = await site.up()
        one.ask()
        await until(lambda: site.backend.waiting)
        with pytest.raises(WorkUndone):
            await site.stopped()
        assert site.backend.is_closed

    run_bounded(main)


def test_gateways_share_the_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two gateways that each send a job to a worker of one slot are served one after the other."""

    async def main() -> None:
        site = Site(monkeypatch, FakeBackend(), gateways=2)
        one, two = await site.up()
        first, second = one.ask(b"1"), two.ask(b"2")
        await until(lambda: site.backend.waiting)
        await asyncio.sleep(1.0)
        assert len(site.backend.waiting) == 1
        site.backend.waiting[0].set_result(Answer(b"first"))
        await until(lambda: len(site.backend.waiting) == 2)
        site.backend.waiting[1].set_result(Answer(b"second"))
        answers = {(await one.answer(first))[1], (await two.answer(second))[1]}
        assert answers == {b"first", b"second"}
        await site.stopped()

    run_bounded(main)


def test_a_newer_token_reaches_every_gateway(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also those whose tunnel is up when another link has read the new file for its own dial first."""
    file = tmp_path / "token"
    file.write_text("token-1")

    async def main() -> None:
        site = Site(monkeypatch, FakeBackend(), gateways=2, token=None, token_file=file)
        one, two = await site.up()
        file.write_text("token-2")
        one.session.close(CloseCode.SHUTTING_DOWN, "restart")
        one.wake()
        await one.ended()
        assert (await two.wait(TokenReceived)).token == "token-2"
        await site.up()
        await asyncio.sleep(3.0)
        assert site.tokens[2] == ("wss://g1/v1/tunnel", "token-2")
        assert len(two.all(TokenReceived)) == 1
        assert site.gateways["wss://g1/v1/tunnel"].all(TokenReceived) == []
        await site.stopped()

    run_bounded(main)


def test_the_load_is_told_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Running and waiting calls, by model, once each."""

    async def main() -> None:
        site = Site(monkeypatch, FakeBackend())
        (gateway,) = await site.up()
        gateway.ask()
        gateway.ask()
        await asyncio.sleep(5.0)
        reports = [event.load for event in gateway.all(LoadReported)]
        assert [(load.running, load.waiting) for load in reports][-1] == (1, 1)
        assert reports[-1].details == {"models": {"m": {"running": 1, "waiting": 1}}, "loop_lag_p99_ms": 0.0}
        assert len(reports) <= 2
        for waiting in (0, 1):
            await until(lambda waiting=waiting: len(site.backend.waiting) > waiting)  # type: ignore[misc]
            site.backend.waiting[waiting].set_result(Answer(b""))
        await site.stopped()

    run_bounded(main)


def test_a_worker_without_a_good_model_stays_to_say_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It announces its failed models to the gateway and logs each reason, and that none is left."""

    async def main() -> None:
        site = Site(monkeypatch, FakeBackend(models=[ServedModel("m", "1", 1, "model.toml: no such file")]))
        await site.up()
        (hello,) = [await helper for helper in site.helpers]
        assert [(model.name, model.failure) for model in hello.models] == [("m", "model.toml: no such file")]  # type: ignore[attr-defined]
        await site.stopped()

    run_bounded(main)
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == ["model cannot be served", "no model can be served"]


def test_stopping_while_models_load_is_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is dialled."""

    async def main() -> None:
        backend = FakeBackend()
        backend.may_start.clear()
        site = Site(monkeypatch, backend)
        await asyncio.sleep(5.0)
        began = site.loop.time()
        await site.stopped()
        assert site.loop.time() == began
        assert site.tokens == []

    run_bounded(main)


def test_its_health_is_tunnel_and_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not ready while it loads, without a tunnel, while a model does not answer, and once it is told to go."""

    async def main() -> None:
        backend = FakeBackend(Answer(b""))
        backend.may_start.clear()
        site = Site(monkeypatch, backend)
        assert await site.worker._health() == Health(False, "loading models")
        backend.may_start.set()
        (gateway,) = await site.up()
        assert await site.worker._health() == Health(True, "ready: m; 1 of 1 tunnels open")
        gateway.session.close(CloseCode.SHUTTING_DOWN, "restart")
        gateway.wake()
        await gateway.ended()
        await until(lambda: not site.worker._links[0].is_up)
        assert await site.worker._health() == Health(False, "no tunnel is open to wss://g1/v1/tunnel")
        await site.up()
        await asyncio.sleep(1.0)
        site.worker.stop()
        assert await site.worker._health() == Health(False, "draining")
        await site.stopped()

    run_bounded(main)


def test_a_model_that_hangs_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """When no answer of late proves it, it is asked for one, and what does not come in time is said."""
    monkeypatch.setattr(readiness, "FRESH_S", -1.0)

    async def main() -> None:
        site = Site(monkeypatch, FakeBackend())
        await site.up()
        late = "no model is ready; m is not ready: the deadline passed at the worker; 1 of 1 tunnels open"
        assert await site.worker._health() == Health(False, late)
        site.backend.outcome = Answer(b"")
        assert (await site.worker._health()).is_ready
        assert site.backend.probes == ["m", "m"]
        await site.stopped()

    run_bounded(main)


def test_an_answer_to_a_gateway_proves_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is busy is not asked for one more inference by who looks after its health."""

    async def main() -> None:
        site = Site(monkeypatch, FakeBackend(Answer(b"done")))
        (gateway,) = await site.up()
        assert isinstance(site.worker._readiness, Readiness)
        site.worker._readiness._loaded_at["m"] = -1e9
        await gateway.answer(gateway.ask())
        assert (await site.worker._health()).is_ready
        assert site.backend.probes == []
        await site.stopped()

    run_bounded(main)


def test_a_model_that_fails_while_it_serves_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every gateway hears of it, and that it is ready again; meanwhile the worker is not healthy."""

    async def main() -> None:
        site = Site(monkeypatch, FakeBackend(), gateways=2)
        gateways = await site.up()
        assert site.backend.changed is not None
        for failure in ("its engine hangs", ""):
            site.backend.changed([ServedModel("m", "1", 1, failure)])
            for gateway in gateways:
                await gateway.wait(ModelsChanged, models=(Model("m", "1", 1, failure),))
            assert (await site.worker._health()).is_ready == (not failure)
        await site.stopped()

    run_bounded(main)


def test_a_model_that_is_mended_while_it_serves_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new engine process may load what the first one could not: its file is there by now."""

    async def main() -> None:
        site = Site(monkeypatch, FakeBackend(Answer(b"done"), [ServedModel("m", "", 1, "no such file")]))
        (gateway,) = await site.up()
        await until(lambda: site.backend.changed)
        assert site.backend.changed is not None
        site.backend.changed([ServedModel("m", "1", 1)])
        assert (await gateway.answer(gateway.ask()))[1] == b"done"
        assert await site.worker._health() == Health(True, "ready: m; 1 of 1 tunnels open")
        await site.stopped()

    run_bounded(main)


def test_models_that_cannot_be_looked_for_are_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the backend refuses when it starts is a ConfigError, before anything is dialled."""

    class Refusing(FakeBackend):
        async def start(self) -> list[ServedModel]:
            raise ValueError("model-dir: two models are called digits")

    async def main() -> None:
        site = Site(monkeypatch, Refusing())
        with pytest.raises(ConfigError, match="two models"):
            await site.run
        assert site.tokens == []

    run_bounded(main)


@pytest.mark.parametrize("error", [ValueError("slots = 99"), ImportError("pip install opencv")])
def test_a_backend_that_cannot_be_opened_is_a_mistake(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A missing library and a number out of range are told as configuration errors."""

    def refuse(*_: object) -> None:
        raise error

    async def main() -> None:
        site = Site(monkeypatch, FakeBackend())
        monkeypatch.setattr(app, "open_apart", refuse)
        with pytest.raises(ConfigError, match=str(error)):
            Worker(site.worker._config)
        await site.stopped()

    run_bounded(main)
