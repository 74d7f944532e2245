"""What a number belongs to: machine, versions, commit, command. Never a token."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

LIBRARIES = ("aiohttp", "uvloop", "numpy", "hdrhistogram", "pyarrow", "edge-inference-gateway")
REPOSITORY = Path(__file__).resolve().parents[2]
SECRET_FLAGS = ("--token",)
REDACTED = "REDACTED"
GPU_FIELDS = "name,driver_version,clocks.sm,clocks.max.sm,pstate,power.limit"
TIMEOUT_S = 5.0
"""For nvidia-smi and git: a report does not wait for a broken driver."""


def environment(command: Sequence[str], secrets: Sequence[str] = ()) -> dict[str, object]:
    """The block of the report. `command`: as typed; `secrets`: texts that must not appear in it."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "governor": _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")) or "not said",
        "load_average": list(os.getloadavg()),
        "memory_bytes": _memory_bytes(),
        "gpu": _gpus(),
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libraries": {name: version for name in LIBRARIES if (version := _version(name))},
        "commit": _commit(),
        "command": redacted(command, secrets),
    }


def redacted(command: Sequence[str], secrets: Sequence[str] = ()) -> str:
    """The command as it could be typed, without tokens: values of secret flags, secrets anywhere, passwords in
    addresses."""
    shown = []
    hides_next = False
    for word in command:
        flag, equals, _ = word.partition("=")
        if hides_next:
            word = REDACTED
        elif flag in SECRET_FLAGS and equals:
            word = f"{flag}={REDACTED}"
        hides_next = word in SECRET_FLAGS
        shown.append(without_secrets(word, secrets))
    return shlex.join(shown)


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    """A text without these secrets, and without the password of an address."""
    for secret in filter(None, secrets):
        text = text.replace(secret, REDACTED)
    return re.sub(r"(https?://)[^/@\s]*@", rf"\1{REDACTED}@", text)


def _cpu_model() -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _gpus() -> list[dict[str, str]]:
    """Empty without nvidia-smi."""
    text = _output("nvidia-smi", f"--query-gpu={GPU_FIELDS}", "--format=csv,noheader")
    rows = [[part.strip() for part in line.split(",")] for line in text.splitlines()]
    names = GPU_FIELDS.split(",")
    return [dict(zip(names, row, strict=True)) for row in rows if len(row) == len(names)]


def _commit() -> str:
    commit = _output("git", "rev-parse", "HEAD")
    changed = _output("git", "status", "--porcelain", "--untracked-files=no")
    return (commit + (" with changes" if changed else "")) or "not in a repository"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _output(*command: str) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
