"""Requests that schemathesis makes from the gateway's own OpenAPI document, with a fixed seed: it finds nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.stack import Stack

CONFIG = Path(__file__).with_name("schemathesis.toml")
KNOWN = '[parameters]\n"path.model" = "digits"\n"path.version" = "1"\n"path.label" = "stable"\n\n'
SEED = 20261121
EXAMPLES = 25
"""Of each operation in a phase: some 3,000 requests and half a minute in all."""
TIMEOUT_S = 600.0


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[str], Stack]) -> Stack:
    """A gateway and a worker with the digits."""
    stack = new_stack("openapi_fuzz")
    stack.start_gateway()
    stack.start_worker("worker-1")
    stack.wait_ready("digits", 1)
    return stack


@pytest.mark.parametrize("names", ["made up", "known"])
def test_finds_nothing(stack: Stack, tmp_path: Path, names: str) -> None:
    """Whatever is asked, with made-up names or those of a model that there is, the answer is one that the document
    describes: no 5xx, no way around the token, and no traceback in the log."""
    config = tmp_path / "schemathesis.toml"
    config.write_text((KNOWN if names == "known" else "") + CONFIG.read_text())
    token = stack.credentials.client_token.read_text().strip()
    arguments = ["--seed", str(SEED), "--max-examples", str(EXAMPLES), "--phases", "examples,coverage,fuzzing"]
    arguments += ["--tls-verify", str(stack.credentials.ca), "--header", f"Authorization: Bearer {token}"]
    found = subprocess.run(
        [Path(sys.executable).parent / "st", "--config-file", config, "run", f"{stack.url}/openapi.json", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert found.returncode == 0, found.stdout[-10_000:] + found.stderr[-2000:]
    assert stack.gateway.events("request_failed") == []
