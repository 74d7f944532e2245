"""What `pip install` and `make` promise: extras name what the code imports, locks hold it, the wheel carries it."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.test_imports import DOORS

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-tensorflow.lock")
IMAGE_LOCKS = {
    "docker/gateway/requirements.lock": ("gateway",),
    "docker/opencv_dnn/requirements.lock": ("worker", "serve", "opencv", "models", "http"),
    "docker/tf_gpu/requirements-cpu.lock": ("worker", "serve", "opencv", "models", "http", "tensorflow"),
    "docker/tf_gpu/requirements.lock": ("worker", "serve", "opencv", "models", "http", "tensorflow", "cuda"),
    "docker/build.lock": (),
}
"""What each image installs, and the extras that it is made for. The last builds the project's wheel."""
PYTHONS = ("3.11", "3.12", "3.13")

DISTRIBUTIONS = {
    "google": "protobuf",
    "cryptography": "pyjwt",  # its extra [crypto]
    "cv2": "opencv-python-headless",
    "jwt": "pyjwt",
    "prometheus_client": "prometheus-client",
    "sklearn": "scikit-learn",
}
"""The distribution that brings a module, where the two are not called alike."""


def setup_cfg() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def extras() -> dict[str, list[Requirement]]:
    return {
        name: [Requirement(line) for line in text.splitlines() if line]
        for name, text in setup_cfg()["options.extras_require"].items()
    }


def names(extra: str) -> set[str]:
    return {canonicalize_name(one.name) for one in extras()[extra]}


def locked(file: str) -> dict[str, str]:
    """Name to version. Raises AssertionError for a line that pins nothing or carries no hash."""
    entries = re.split(r"\n(?=[a-z])", (ROOT / file).read_text(encoding="utf-8"))[1:]
    found = {}
    for entry in entries:
        pin = re.match(r"([a-z0-9-]+)==([^ ]+)", entry)
        assert pin, f"{file}: not pinned: {entry.splitlines()[0]}"
        assert "--hash=sha256:" in entry, f"{file}: {pin[1]} has no hash"
        found[pin[1]] = pin[2]
    return found


@pytest.mark.parametrize("library", sorted(DOORS))
def test_each_import_has_its_extra(library: str) -> None:
    """What a side imports is named by that side's extra, so one extra is enough to run it."""
    distribution = DISTRIBUTIONS.get(library, library)
    for door in DOORS[library]:
        if door.startswith("gateway/client/"):
            needed = names("client") & names("gateway")
        elif door.startswith("gateway/"):
            needed = names("gateway")
        elif door.endswith("/train.py"):
            needed = names("dev") | names("opencv") | names("tensorflow")
        elif door.startswith("edge_worker/http/"):
            needed = names("serve")
        elif door.startswith("edge_worker/models/") and library in ("requests", "rich"):
            needed = names("models")
        elif door.startswith("edge_worker/backends/http/"):
            needed = names("http")
        else:
            needed = names("worker") | names("opencv") | names("tensorflow")
        assert distribution in needed, f"{door} imports {library}: no extra names {distribution}"


@pytest.mark.parametrize("extra", ["gateway", "client", "worker", "serve", "opencv", "models", "bench", "dev"])
def test_the_lock_satisfies_each_extra(extra: str) -> None:
    """`make` installs from requirements.lock alone, so it holds every direct dependency within its bounds."""
    pins = locked("requirements.lock")
    for one in extras()[extra]:
        assert one.specifier.contains(pins[canonicalize_name(one.name)]), f"{one} is not what the lock holds"


def test_tensorflow_lock_agrees_with_the_first() -> None:
    """Installing TensorFlow changes no package that is installed already: what both locks name has one version."""
    first, second = map(locked, LOCKS)
    assert second["tensorflow"].startswith("2.21.")
    assert {name: second[name] for name in first.keys() & second.keys()} == {
        name: first[name] for name in first.keys() & second.keys()
    }


@pytest.mark.parametrize(("file", "extra_names"), IMAGE_LOCKS.items())
def test_an_image_has_what_is_tested_and_no_more(file: str, extra_names: tuple[str, ...]) -> None:
    """An image's lock holds its extras, in the versions that the tests run with, and none of the tools."""
    pins = locked(file)
    tested = locked(LOCKS[1]) | locked(LOCKS[0])
    assert {name: tested[name] for name in pins if not name.startswith("nvidia-")} == {
        name: version for name, version in pins.items() if not name.startswith("nvidia-")
    }
    for extra in extra_names:
        for one in extras()[extra]:
            assert one.specifier.contains(pins[canonicalize_name(one.name)]), f"{file} does not hold {one}"
    assert not {"pytest", "mypy", "pyarrow", "matplotlib"} & pins.keys()
    assert ("nvidia-cudnn-cu12" in pins) == ("cuda" in extra_names)
    assert ("setuptools" in pins) == (not extra_names or "tensorflow" in extra_names)


@pytest.mark.parametrize("image", ["gateway", "opencv_dnn", "tf_gpu"])
def test_an_image_can_be_told_its_base_and_uses_its_locks(image: str) -> None:
    """BASE_IMAGE has a pinned default that this project supports, and pip takes what the locks hold, nothing else."""
    text = (ROOT / "docker" / image / "Dockerfile").read_text(encoding="utf-8")
    base = re.search(r"^ARG BASE_IMAGE=python:(3\.\d+)\.\d+-slim-bookworm$", text, re.MULTILINE)
    assert base is not None
    assert base[1] in PYTHONS
    assert set(re.findall(r"\bdocker/[\w./-]+\.lock", text)) == {
        file for file in IMAGE_LOCKS if file.startswith(f"docker/{image}/") or file == "docker/build.lock"
    }
    installs = re.findall(r"install --quiet ([^&\n]*)", text)
    assert all("--require-hashes" in one or "--no-deps --no-index" in one for one in installs), installs


@pytest.mark.parametrize("file", [*LOCKS, *IMAGE_LOCKS])
def test_a_lock_names_no_index(file: str) -> None:
    """Where packages come from is the installer's choice: a lock names versions and hashes, no host and no path."""
    assert not re.search(r"://|^-|/simple", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_each_dependency_says_why() -> None:
    """Each direct dependency stands under a comment; the second mention of one may do without."""
    seen: set[str] = set()
    text = (ROOT / "setup.cfg").read_text(encoding="utf-8").split("[options.extras_require]")[1].split("\n[")[0]
    explained = False
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("#"):
            explained = True
        elif re.fullmatch(r"[a-z]+ =", line):
            explained = False
        else:
            name = canonicalize_name(Requirement(line).name)
            assert explained or name in seen, f"no reason is given for {line}"
            seen.add(name)


def test_every_place_names_the_same_pythons() -> None:
    """The bounds in setup.cfg, its classifiers and the Makefile's check say the same."""
    config = setup_cfg()
    assert config["options"]["python_requires"] == ">=3.11,<3.14"
    named = re.findall(r"Python :: (3\.\d+)$", config["metadata"]["classifiers"], re.MULTILINE)
    assert tuple(named) == PYTHONS
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in makefile
    assert all(f"python{one}" in makefile for one in PYTHONS)


def build_wheel(folder: Path) -> Path:
    """Builds the project's wheel into the folder, in a copy by links, so that nothing is left in the source."""
    source = folder / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "wire", "gateway", "edge_worker", "tests"):
        (source / name).symlink_to(ROOT / name)
    build = "import sys, setuptools.build_meta as b; print(b.build_wheel(sys.argv[1]))"
    command = [sys.executable, "-W", "ignore", "-c", build, str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build_wheel(tmp_path_factory.mktemp("wheel")))


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """wire, gateway and edge_worker are installed; tests, demo and benchmarks stay in the repository."""
    folders = {name.split("/")[0] for name in wheel.namelist()}
    assert {one for one in folders if not one.endswith(".dist-info")} == {"wire", "gateway", "edge_worker"}


def test_the_wheel_carries_every_file_of_the_source(wheel: zipfile.ZipFile) -> None:
    """A model without its graph, its labels or its samples is no model: what the repository has, the wheel has."""
    source = {path for package in ("wire", "gateway", "edge_worker") for path in (ROOT / package).rglob("*.*")}
    files = {
        path.relative_to(ROOT).as_posix() for path in source if path.is_file() and path.parent.name != "__pycache__"
    }
    assert not {one for one in files - set(wheel.namelist()) if not one.endswith(".md")}


def test_the_wheel_gives_two_commands(wheel: zipfile.ZipFile) -> None:
    """`gateway` and `edge-worker` are what a person types."""
    entry_points = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    text = wheel.read(entry_points).decode()
    assert "gateway = gateway.__main__:main" in text
    assert "edge-worker = edge_worker.__main__:main" in text
