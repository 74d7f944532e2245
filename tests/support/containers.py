"""The project's images, built and run by podman or docker for one test module; nothing of it outlives the module.

Only where TEST_IMAGES asks for it: 1 builds them by `make images`, with its CONTAINER_ENGINE, BASE_IMAGE and
BUILD_ARGS, which takes minutes and a registry, or a base image that is here already; `built` takes those that are
there, as `.ci/run` does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from demo.stack import REPOSITORY

UID = 10001
"""Whom the images run as."""
LOCKED_DOWN = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
BUILD_TIMEOUT_S = 1800.0
READY_TIMEOUT_S = 180.0
"""Seconds for a container to be ready: TensorFlow's start on a busy machine takes long."""


class Container:
    """One that was started."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.name = name
        self._engine = engine

    def exec(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command inside, as the image's user."""
        return self._engine.run("exec", self.name, *command, check=False)

    def health(self) -> tuple[bool, str]:
        """What the image's HEALTHCHECK says now, and its line."""
        if not self._engine.is_podman:
            return self._health_by_command()
        done = self._engine.run("healthcheck", "run", self.name, check=False)
        log = self._engine.inspect(self.name)["State"].get("Health", {}).get("Log") or [{}]
        return done.returncode == 0, log[-1].get("Output", "").strip() or (done.stdout + done.stderr).strip()

    def _health_by_command(self) -> tuple[bool, str]:
        """docker runs it by its own timer alone, so its command is run as it would be."""
        test = self._engine.inspect(self.name)["Config"]["Healthcheck"]["Test"]
        assert test[0] == "CMD"
        done = self.exec(*test[1:])
        return done.returncode == 0, done.stdout.strip()

    def wait_healthy(self) -> str:
        """The line that says so. Fails when it does not come, or the container has ended."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            is_healthy, text = self.health()
            if is_healthy:
                return text
            assert self.is_running, f"{self.name} has ended:\n{self.output()}"
            assert time.monotonic() < deadline, f"{self.name} is not healthy: {text}\n{self.output()}"
            time.sleep(0.2)

    @property
    def is_running(self) -> bool:
        return bool(self._engine.inspect(self.name)["State"]["Running"])

    @property
    def exit_status(self) -> int:
        return int(self._engine.inspect(self.name)["State"]["ExitCode"])

    def stop(self, grace_s: int = 60) -> None:
        """SIGTERM, as every orchestrator does it; SIGKILL after the grace."""
        self._engine.run("stop", "--time", str(grace_s), self.name)

    def output(self) -> str:
        done = self._engine.run("logs", self.name, check=False)
        return done.stdout + done.stderr

    def events(self) -> list[str]:
        """What its log lines are about, in their order."""
        lines = [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]
        return [line["event"] for line in lines]


class Engine:
    """podman or docker, with what this module started."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.is_podman = Path(command).name == "podman"
        self._containers: list[str] = []

    def run(self, *arguments: str, check: bool = True, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        command = [self.command, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        assert not check or done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
        return done

    def inspect(self, container: str) -> dict[str, Any]:  # Any: JSON
        found: dict[str, Any] = json.loads(self.run("inspect", "--type", "container", container).stdout)[0]
        return found

    def start(
        self,
        image: str,
        *arguments: str,
        network: str = "host",
        publish: str = "",
        mounts: Mapping[Path, str] | None = None,
        **environment: str,
    ) -> Container:
        """Starts the image locked down: a root file system that cannot be written, no capability, no way to gain one.
        docker makes no /tmp of its own beside such a root, so it is told to. `publish` is a port of the container on
        one of this machine's, on whatever network the engine can make."""
        name = f"edge-test-{os.getpid()}-{len(self._containers)}"
        options = [*LOCKED_DOWN, "--name", name, "--detach"]
        options += ["--publish", publish, *self._own_network()] if publish else ["--network", network]
        options += ["--log-driver", "k8s-file" if self.is_podman else "json-file", "--tmpfs", "/tmp"]
        options += [f"--volume={source.resolve()}:{target}:ro" for source, target in (mounts or {}).items()]
        options += [f"--env={key}={value}" for key, value in environment.items()]
        self._containers.append(name)
        self.run("run", *options, image, *arguments)
        return Container(self, name)

    def _own_network(self) -> list[str]:
        """podman's bridge wants more of the kernel than a machine for tests may have; slirp4netns wants nothing."""
        return ["--network", "slirp4netns"] if self.is_podman and shutil.which("slirp4netns") else []

    def close(self) -> None:
        """Removes all that was started, running or not."""
        at_once = ("--time", "0") if self.is_podman else ()
        for name in self._containers:
            self.run("rm", "--force", *at_once, name, check=False)


def container_engine() -> Engine:
    """The engine, with the images built. Skips the test that asks for it where that cannot be."""
    wanted = os.environ.get("TEST_IMAGES", "")
    if wanted not in ("1", "built"):
        pytest.skip("images are built and run where TEST_IMAGES=1 asks for it (.ci/run does)")
    command = os.environ.get("CONTAINER_ENGINE") or shutil.which("podman") or shutil.which("docker")
    if command is None:
        pytest.skip("neither podman nor docker is here")
    if os.geteuid() != 0:
        pytest.skip("images are run as root here: files are given to the images' own user")
    if wanted == "1":
        build_images()
    return Engine(command)


def build_images() -> None:
    """By `make images`. CUDA's libraries are left out: no test here has a GPU."""
    command = ["make", "--no-print-directory", "images", "CUDA=0"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    assert done.returncode == 0, f"{' '.join(command)}:\n{(done.stdout + done.stderr)[-4000:]}"


def owned(*paths: Path) -> None:
    """Gives files, and folders with what is in them, to the user that the images run as, and to nobody else."""
    for path in paths:
        for one in (path, *(path.rglob("*") if path.is_dir() else ())):
            os.chown(one, UID, UID)
            one.chmod(0o500 if one.is_dir() else 0o400)
