"""The worker that listens, put together: what stops it before it serves, what it says, and how it leaves."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

import aiohttp
import pytest

from edge_worker import serve
from edge_worker.backends.base import ServedModel
from edge_worker.backends.settings import BackendSettings
from edge_worker.config import CannotListen, ConfigError, ServeConfig
from edge_worker.health import Health
from edge_worker.loading import WorkUndone
from edge_worker.serve import WorkerServer
from tests.support import certificates
from tests.support.fake_backend import FakeBackend
from tests.support.worker_http import ANSWER, until


def config(**changes: object) -> ServeConfig:
    fields: dict[str, object] = {
        "host": "127.0.0.1", "port": 0, "certificate_file": None, "key_file": None, "client_ca_file": None,
        "backend": "fake",
        "engine": BackendSettings(), "max_body_bytes": 1000, "drain_grace_s": 30.0, "health_socket": None,
        "log_format": "json", "log_level": "info",
    }  # fmt: skip
    return ServeConfig(**fields | changes)  # type: ignore[arg-type]


def made(monkeypatch: pytest.MonkeyPatch, backend: FakeBackend, **changes: object) -> WorkerServer:
    monkeypatch.setattr(serve, "open_apart", lambda *_: backend)
    return WorkerServer(config(**changes))


def said(caplog: pytest.LogCaptureFixture, event: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.getMessage() == event]


@pytest.mark.parametrize(("host", "warnings"), [("127.0.0.1", 0), ("localhost", 0), ("0.0.0.0", 1)])
async def test_it_serves_and_leaves(
    host: str, warnings: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says where it listens, warns where others can reach it, and closes its backend at the end."""
    caplog.set_level(logging.INFO)
    backend = FakeBackend(ANSWER)
    server = made(monkeypatch, backend, host=host)
    running = asyncio.create_task(server.run())
    await until(lambda: said(caplog, "serving"))
    port = vars(said(caplog, "serving")[0])["port"]
    async with aiohttp.ClientSession() as session, session.post(f"http://127.0.0.1:{port}/", data=b"x") as answer:
        assert answer.status == 200
    assert len(said(caplog, "no authentication")) == warnings
    assert await server._health() == Health(True, "ready: m")
    server.stop()
    assert await server._health() == Health(False, "draining")
    await running
    assert backend.is_closed


async def test_a_model_that_fails_while_it_serves_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With 503, and the server is not ready; when the model is ready again, it answers, and needs no probe."""
    caplog.set_level(logging.INFO)
    backend = FakeBackend(ANSWER)
    server = made(monkeypatch, backend)
    running = asyncio.create_task(server.run())
    await until(lambda: said(caplog, "serving") and backend.changed)
    assert server._readiness is not None
    assert backend.changed is not None
    url = f"http://127.0.0.1:{vars(said(caplog, 'serving')[0])['port']}/"
    async with aiohttp.ClientSession() as session:
        backend.changed([ServedModel("m", "1", 1, failure="its engine hangs")])
        async with session.post(url, data=b"x") as answer:
            assert (answer.status, (await answer.json())["code"]) == (503, "no_worker")
        assert await server._health() == Health(False, "no model is ready; m is broken")
        server._readiness._loaded_at["m"] = -1e9
        backend.changed(backend.models)
        assert await server._health() == Health(True, "ready: m")
        async with session.post(url, data=b"x") as answer:
            assert answer.status == 200
    assert backend.probes == []
    server.stop()
    await running


async def test_a_model_that_is_mended_while_it_serves_is_served(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A new engine process may load what the first one could not: its file is there by now."""
    caplog.set_level(logging.INFO)
    broken = ServedModel("late", "", 1, failure="no such file")
    backend = FakeBackend(ANSWER, [ServedModel("m", "1", 1), broken])
    server = made(monkeypatch, backend)
    running = asyncio.create_task(server.run())
    await until(lambda: said(caplog, "serving") and backend.changed)
    assert backend.changed is not None
    url = f"http://127.0.0.1:{vars(said(caplog, 'serving')[0])['port']}/inference/late"
    async with aiohttp.ClientSession() as session:
        async with session.post(url, data=b"x") as answer:
            assert answer.status == 503
        backend.changed([ServedModel("m", "1", 1), ServedModel("late", "1", 1)])
        async with session.post(url, data=b"x") as answer:
            assert answer.status == 200
    server.stop()
    await running


async def test_work_that_outlasts_the_grace_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The server closes all the same, and does not leave as if all had been finished."""
    caplog.set_level(logging.INFO)
    backend = FakeBackend()
    server = made(monkeypatch, backend, drain_grace_s=0.0)
    running = asyncio.create_task(server.run())
    await until(lambda: said(caplog, "serving"))
    url = f"http://127.0.0.1:{vars(said(caplog, 'serving')[0])['port']}/"
    async with aiohttp.ClientSession() as session:
        asking = asyncio.create_task(session.post(url, data=b"x"))
        await until(lambda: backend.waiting)
        server.stop()
        with pytest.raises(WorkUndone):
            await running
        with pytest.raises(aiohttp.ClientError):
            await asking
    assert backend.is_closed
    assert said(caplog, "left with work undone")


async def test_it_is_stopped_while_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves at once."""
    backend = FakeBackend(ANSWER)
    backend.may_start.clear()
    server = made(monkeypatch, backend)
    assert await server._health() == Health(False, "loading models")
    server.stop()
    await server.run()


async def test_without_a_model_it_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that can answer nothing leaves, and its backend is closed."""
    backend = FakeBackend(ANSWER, [ServedModel("m", "1", 1, failure="no labels")])
    with pytest.raises(ConfigError, match="none can be served"):
        await made(monkeypatch, backend).run()
    assert backend.is_closed


async def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the port and the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=f"port = {port}: cannot listen on 127.0.0.1: "):
            await made(monkeypatch, FakeBackend(ANSWER), port=port).run()


def test_a_client_ca_that_is_none(tmp_path: Path) -> None:
    """A file that holds no certificate is a mistake of the configuration, by the name of its option."""
    pki = certificates.made(tmp_path / "pki")
    file = tmp_path / "client-ca.pem"
    file.write_text("no certificate")
    files = {"certificate_file": pki / "server.pem", "key_file": pki / "server.key", "client_ca_file": file}
    with pytest.raises(ConfigError, match=f"client-ca-file = {file}: must be certificates in PEM"):
        WorkerServer(config(**files, backend="echo"))


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    """A file that holds no certificate is a mistake of the configuration, by the name of its option."""
    file = tmp_path / "server.pem"
    file.write_text("no certificate")
    with pytest.raises(ConfigError, match=f"certificate-file = {file}: must be a certificate and its key in PEM"):
        WorkerServer(config(certificate_file=file, backend="echo"))
