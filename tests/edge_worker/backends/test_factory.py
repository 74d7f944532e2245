"""A backend is opened by its name, and only then is its library loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_worker.backends.factory import BACKENDS, open_apart, open_backend, open_forwarder
from edge_worker.backends.http.address import UpstreamSettings, parse_upstream
from edge_worker.backends.settings import BackendSettings
from tests.support.networks import needs_tensorflow

ALL = [
    pytest.param(name, marks=needs_tensorflow) if name == "tensorflow" else name for name in BACKENDS if name != "http"
]


@pytest.mark.parametrize("name", ALL)
def test_each_backend_is_opened_by_its_name(name: str) -> None:
    """The name that is asked for is the name that it gives itself."""
    assert open_backend(name, BackendSettings()).name == name


def test_a_forwarder_is_opened_on_its_own() -> None:
    """It computes nothing: what asks for something that computes is told where it belongs."""
    upstream = UpstreamSettings((parse_upstream("http://localhost:8000"),))
    assert open_forwarder(upstream).name == "http"
    with pytest.raises(ValueError, match="edge-worker connect"):
        open_backend("http", BackendSettings())


def test_echo_loads_no_library() -> None:
    """A worker that echoes starts without cv2, numpy and the gateway's libraries."""
    heavy = ("cv2", "numpy", "aiohttp", "jwt", "tensorflow", "httptools", "gateway")
    program = (
        "import sys, asyncio\n"
        "from edge_worker.backends.factory import open_backend\n"
        "from edge_worker.backends.settings import BackendSettings\n"
        "asyncio.run(open_backend('echo', BackendSettings()).start())\n"
        f"print([name for name in {heavy} if name in sys.modules])\n"
    )
    root = Path(__file__).parents[3]
    run = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("tensorrt", BackendSettings(), "backend = 'tensorrt': must be one of opencv_dnn, tensorflow, echo"),
        ("echo", BackendSettings(slots=0), "slots = 0: must be from 1 to 64"),
        ("echo", BackendSettings(slots=65), "slots = 65: must be from 1 to 64"),
        ("tensorflow", BackendSettings(device="tpu"), "device = 'tpu': must be auto, cpu, or gpu:N"),
        ("tensorflow", BackendSettings(device="cpu", require_gpu=True), "on device 'cpu' never uses one"),
        ("opencv_dnn", BackendSettings(require_gpu=True), "require_gpu = True: backend 'opencv_dnn'"),
        ("opencv_dnn", BackendSettings(threads=-1), "threads = -1: must be from 0"),
        ("opencv_dnn", BackendSettings(model_dirs=(Path("/nowhere"),)), "model_dir = /nowhere: is not a folder"),
    ],
)
def test_what_is_not_allowed_is_named(name: str, settings: BackendSettings, reason: str) -> None:
    """The message has the field, its value and what is allowed."""
    with pytest.raises(ValueError, match=r"=") as caught:
        open_backend(name, settings)
    assert reason in str(caught.value)


def test_a_library_that_is_missing_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without OpenCV the message says how to install it."""
    for module in [name for name in sys.modules if name.startswith("edge_worker.backends.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "cv2", None)
    from edge_worker.backends.factory import open_backend as open_afresh
    from edge_worker.backends.settings import BackendSettings as Afresh

    with pytest.raises(ImportError, match=r"pip install '.\[worker,opencv\]'"):
        open_afresh("opencv_dnn", Afresh())


def test_without_a_way_to_an_engine_process_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever left the extra of the engine out is told so; echo needs no such process."""
    for module in [name for name in sys.modules if name.startswith("edge_worker.backends.engine_process")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "msgspec", None)
    with pytest.raises(ImportError, match=r"opencv_dnn needs msgspec: pip install '.\[worker,opencv\]'"):
        open_apart("opencv_dnn", BackendSettings(), "text", "info")
    assert open_apart("echo", BackendSettings(), "text", "info").name == "echo"


def test_without_tensorflow_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what is missing and how to install it."""
    monkeypatch.delitem(sys.modules, "edge_worker.backends.tensorflow", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ImportError, match=r"needs tensorflow: pip install '.\[worker,opencv,tensorflow\]'"):
        open_backend("tensorflow", BackendSettings())
