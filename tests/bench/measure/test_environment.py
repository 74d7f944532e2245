"""The environment block: what it always says, and what it never does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.measure import environment as module
from bench.measure.environment import environment, redacted


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["bench", "--token", "abc", "--rate", "5"], "bench --token REDACTED --rate 5"),
        (["bench", "--token=abc"], "bench --token=REDACTED"),
        (["bench", "--url", "https://me:pw@host/x"], "bench --url https://REDACTED@host/x"),
        (["bench", "--url", "https://host/?key=s3cret"], "bench --url 'https://host/?key=REDACTED'"),
        (["bench", "--token-file", "client.token"], "bench --token-file client.token"),
    ],
)
def test_the_command_has_no_secret(command: list[str], shown: str) -> None:
    """Values of --token, passwords in addresses, and the token itself wherever it stands; the file's name may be
    seen."""
    assert redacted(command, ["s3cret", ""]) == shown


def test_the_block_is_whole_and_is_json() -> None:
    """CPU, cores, governor, GPU, system, versions, commit and command; each is there and can be written."""
    block = environment(["bench"], [])
    assert {"cpu", "cores", "governor", "gpu", "system", "python", "libraries", "commit", "command"} <= set(block)
    assert block["cpu"]
    assert json.loads(json.dumps(block)) == block


def test_gpus_as_nvidia_smi_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry for each GPU, by field; without the program, none."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA X, 550.1, 210 MHz, 1980 MHz, P8, 700.00 W'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    (gpu,) = module._gpus()
    assert (gpu["name"], gpu["clocks.sm"], gpu["pstate"]) == ("NVIDIA X", "210 MHz", "P8")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert module._gpus() == []
    assert module._commit() == "not in a repository"
