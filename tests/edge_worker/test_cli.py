"""The command line: its exit status, its help, and the page that describes it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_worker import cli
from edge_worker.options import CONNECT

PAGE = Path(__file__).parents[2] / "docs/reference/command-line.md"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and standard error."""
    try:
        status = cli.main(arguments)
    except SystemExit as left:
        status = int(left.code or 0)
    return status, capsys.readouterr().err


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN", *(option.variable for option in CONNECT)):
        monkeypatch.delenv(name, raising=False)


def test_a_mistake_is_a_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    """Every mistake is a line on standard error, before anything is dialled."""
    status, text = run(capsys, "connect", "--slots", "0")
    assert status == 2
    assert [line.split(":")[0] for line in text.splitlines()] == ["edge-worker"] * 3
    assert "edge-worker: --slots = '0': must be a whole number from 1 to 64" in text


def test_a_certificate_that_cannot_be_used_is_a_mistake(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CA file that holds no certificate is told like any other mistake."""
    monkeypatch.setenv("TOKEN", "secret")
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    status, text = run(capsys, "connect", "--gateway", "g", "--backend", "echo", "--ca-file", str(file))
    assert status == 2
    assert text.startswith(f"edge-worker: ca-file = {file}: must be certificates in PEM")


def test_a_model_folder_that_cannot_be_read_is_a_mistake(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the backend finds out when it starts is a configuration error too."""
    monkeypatch.setenv("TOKEN", "secret")

    class Backend:
        name = "fake"

        async def start(self) -> None:
            raise ValueError("model-dir = '/x': two models are called digits")

    monkeypatch.setattr("edge_worker.app.open_backend", lambda name, settings: Backend())
    status, text = run(capsys, "connect", "--gateway", "g", "--backend", "echo")
    assert status == 2
    assert "edge-worker: model-dir = '/x': two models are called digits" in text


def test_a_token_cannot_be_given_as_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """`--token SECRET` is not taken for an abbreviation of --token-file, whose error would show it as a file's name."""
    status, text = run(capsys, "connect", "--gateway", "g", "--token", "SECRET")
    assert status == 2
    assert "is not a file" not in text


def test_the_help_shows_each_option_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    """Flag, variable and group of each are there."""
    with pytest.raises(SystemExit) as left:
        cli.main(["connect", "--help"])
    assert left.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for option in CONNECT:
        assert f"--{option.flag}" in text
        assert f"[{option.variable}]" in text
        assert f"{option.group}:" in text


def test_the_page_has_a_row_for_each_option() -> None:
    """Flag, variable and default of each option are in the reference, in the order of the help, and no others."""
    section = PAGE.read_text(encoding="utf-8").partition("## edge-worker connect")[2]
    rows = re.findall(r"^\| `--([a-z-]+)[^`]*` \| `([A-Z_]+)` \| (?:`([^`]*)` )?\|", section, re.MULTILINE)
    assert rows == [(option.flag, option.variable, option.default) for option in CONNECT]
