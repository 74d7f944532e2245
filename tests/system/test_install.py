"""`pip install .[worker,opencv]` alone gives a working worker.

A virtual environment gets the wheel and exactly what the two extras ask for, linked from the environment that runs the
tests, so that nothing is downloaded; then the gateway's code is removed. What a worker needs beyond that is missing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.test_packaging import build_wheel, extras

CLASSIFY = """
import asyncio, sys
from pathlib import Path
from edge_worker.backends.base import Call
from edge_worker.backends.factory import open_backend
from edge_worker.backends.settings import BackendSettings

async def main(picture):
    backend = open_backend("opencv_dnn", BackendSettings())
    models = await backend.start()
    assert [(one.name, one.failure) for one in models] == [("digits", "")], models
    answer = await backend.answer(Call("digits", "POST", "/inference/digits?top=1", (), picture.read_bytes()))
    await backend.close()
    sys.stdout.buffer.write(answer.body)

import edge_worker
asyncio.run(main(Path(edge_worker.__file__).parent / "models/digits/samples/digit-7.png"))
"""


def with_dependencies(requirement: Requirement) -> Iterator[Distribution]:
    """The requirement's distribution, and all that it asks for here, with the extras that are named."""
    found = distribution(requirement.name)
    yield found
    for text in found.requires or ():
        needed = Requirement(text)
        if needed.marker is None or any(needed.marker.evaluate({"extra": one}) for one in {"", *requirement.extras}):
            yield from with_dependencies(needed)


def link(found: Distribution, site_packages: Path) -> None:
    """Links a distribution's top-level folders and files."""
    for file in found.files or ():
        top = file.parts[0]
        if top not in ("..", "__pycache__") and not (site_packages / top).exists():
            (site_packages / top).symlink_to(found.locate_file(top))


@pytest.fixture(scope="module")
def worker_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel, its extras `worker` and `opencv`, and no gateway."""
    folder = tmp_path_factory.mktemp("worker")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=120)
    places = {"base": str(environment), "platbase": str(environment)}
    site_packages = Path(sysconfig.get_path("purelib", "venv", places))
    zipfile.ZipFile(build_wheel(folder)).extractall(site_packages)
    shutil.rmtree(site_packages / "gateway")
    for requirement in (*extras()["worker"], *extras()["opencv"]):
        if requirement.marker is None or requirement.marker.evaluate():
            for found in with_dependencies(requirement):
                link(found, site_packages)
    return environment / "bin" / "python"


def run(python: Path, *arguments: str) -> str:
    """Standard output of an isolated interpreter: no PYTHONPATH, no current directory."""
    done = subprocess.run([str(python), "-I", *arguments], capture_output=True, text=True, timeout=120, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_worker_classifies_without_the_gateway(worker_only: Path) -> None:
    """With the two extras alone the installed worker loads its model and reads a seven."""
    answer = json.loads(run(worker_only, "-c", CLASSIFY))
    assert [one["label"] for one in answer["predictions"]] == ["7"]


def test_the_worker_has_its_command_line(worker_only: Path) -> None:
    """`edge-worker --help` needs nothing that the extras do not bring."""
    assert "connect" in run(worker_only, "-m", "edge_worker", "--help")


@pytest.mark.parametrize("module", ["gateway", "aiohttp", "jwt", "prometheus_client", "pydantic", "structlog"])
def test_what_the_gateway_needs_is_not_there(worker_only: Path, module: str) -> None:
    """The environment proves something: none of the gateway's libraries can be imported in it."""
    found = run(worker_only, "-c", f"import importlib.util as util; print(util.find_spec({module!r}))")
    assert found.strip() == "None"
