"""The how-tos about keys and certificates are typed as they stand: every block of `sh` in them, in order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = """\
#!{python}
import argparse, sys
sys.path.insert(0, {root!r})
from gateway.credentials_cli import register
parser = argparse.ArgumentParser(prog="gateway")
register(parser.add_subparsers(required=True))
arguments = parser.parse_args()
sys.exit(arguments.run(arguments))
"""


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """An empty directory with the commands that the pages use: `gateway` and `certs/make.sh`."""
    command = tmp_path / "bin" / "gateway"
    command.parent.mkdir()
    command.write_text(COMMAND.format(python=sys.executable, root=str(ROOT)))
    command.chmod(0o755)
    (tmp_path / "certs").mkdir()
    shutil.copy(ROOT / "certs" / "make.sh", tmp_path / "certs" / "make.sh")
    return tmp_path


@pytest.mark.parametrize(
    ("page", "leaves"),
    [
        ("docs/howto/keys-and-tokens.md", ["keys/jwks.json", "lab-1.token"]),
        ("docs/howto/own-certificates.md", ["certs/server.pem", "certs/client-lab-1.pem"]),
    ],
)
def test_each_command_works_as_it_stands(workplace: Path, page: str, leaves: list[str]) -> None:
    """Every `sh` block of the page runs, one after the other, each command with exit code 0."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 2
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", "".join(blocks)],
        cwd=workplace,
        env={**os.environ, "PATH": f"{workplace / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in leaves:
        assert (workplace / name).is_file()
