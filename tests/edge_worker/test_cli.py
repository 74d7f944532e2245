"""The command line: its exit status, its help, and the page that describes it."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_worker import cli
from edge_worker.backends.base import BackendLost
from edge_worker.loading import WorkUndone
from edge_worker.option import Option
from edge_worker.options import CONNECT, HEALTH, LOCAL, SERVE

PAGE = Path(__file__).parents[2] / "docs/reference/command-line.md"
COMMANDS: dict[str, Sequence[Option]] = {"connect": CONNECT, "serve": SERVE, "health": HEALTH, "local": LOCAL}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and standard error."""
    try:
        status = cli.main(arguments)
    except SystemExit as left:
        status = int(left.code or 0)
    return status, capsys.readouterr().err


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN", *(option.variable for options in COMMANDS.values() for option in options)):
        monkeypatch.delenv(name, raising=False)


def test_a_mistake_is_a_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    """Every mistake is a line on standard error, before anything is dialled."""
    status, text = run(capsys, "connect", "--slots", "0")
    assert status == 2
    assert [line.split(":")[0] for line in text.splitlines()] == ["edge-worker"] * 3
    assert "edge-worker: --slots = '0': must be a whole number from 1 to 64" in text


def test_the_token_is_taken_out_of_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is read, neither a child process nor a dump of the environment has it."""
    monkeypatch.setenv("TOKEN", "secret")
    monkeypatch.setattr("edge_worker.app.open_apart", lambda *_: int("no backend"))
    status, text = run(capsys, "connect", "--gateway", "g")
    assert status == 2
    assert "secret" not in text
    assert "TOKEN" not in os.environ


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
    status, text = run_refusing(capsys, monkeypatch, ValueError("model-dir = '/x': two models are called digits"))
    assert status == 2
    assert "edge-worker: model-dir = '/x': two models are called digits" in text


def test_an_engine_process_that_ends_while_it_loads_is_status_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings may be right: it is for a supervisor to start the worker again."""
    status, text = run_refusing(capsys, monkeypatch, BackendLost("its engine process was ended by SIGKILL"))
    assert status == 1
    assert text.splitlines()[-1] == "edge-worker: its engine process was ended by SIGKILL"


def run_refusing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> tuple[int, str]:
    """`connect` with a backend that raises this when it starts."""

    class Backend:
        name = "fake"

        async def start(self) -> None:
            raise error

    monkeypatch.setenv("TOKEN", "secret")
    monkeypatch.setattr("edge_worker.app.open_apart", lambda *_: Backend())
    return run(capsys, "connect", "--gateway", "g", "--backend", "echo")


def test_a_place_to_listen_that_cannot_be_had_is_status_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A taken port and a health socket without a folder: the configuration was right, as with `gateway serve`."""
    socket_file = tmp_path / "none" / "health.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for where, name in (("--port", port), ("--health-socket", socket_file)):
            status, text = run(capsys, "serve", "--backend", "echo", where, str(name))
            assert status == 1
            assert text.splitlines()[-1].startswith(f"edge-worker: {where[2:]} = {name}: cannot listen ")


def test_a_token_cannot_be_given_as_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """`--token SECRET` is not taken for an abbreviation of --token-file, whose error would show it as a file's name."""
    status, text = run(capsys, "connect", "--gateway", "g", "--token", "SECRET")
    assert status == 2
    assert "is not a file" not in text


@pytest.mark.parametrize(("command", "options"), COMMANDS.items())
def test_the_help_shows_each_option_in_its_group(
    command: str, options: Sequence[Option], capsys: pytest.CaptureFixture[str]
) -> None:
    """Flag, variable and group of each are there."""
    with pytest.raises(SystemExit) as left:
        cli.main([command, "--help"])
    assert left.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for option in options:
        assert f"--{option.flag}" in text
        assert f"[{option.variable}]" in text
        assert f"{option.group}:" in text


@pytest.mark.parametrize(("command", "options"), COMMANDS.items())
def test_the_page_has_a_row_for_each_option(command: str, options: Sequence[Option]) -> None:
    """Flag, variable and default of each option are in the reference, in the order of the help, and no others."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## edge-worker {command}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `--([a-z-]+)[^`]*` \| `([A-Z_]+)` \| (?:`([^`]*)` )?\|", section, re.MULTILINE)
    assert rows == [(option.flag, option.variable, option.default) for option in options]


def test_one_variable_means_one_thing() -> None:
    """Commands share a variable only with all that is said of it."""
    said: dict[str, Option] = {}
    for option in (option for options in COMMANDS.values() for option in options):
        assert said.setdefault(option.variable, option) == option


def test_work_left_undone_is_status_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As with `gateway serve`; the log has said what."""

    class Server:
        def __init__(self, config: object) -> None:
            """Serves until it is told to stop, and is told at once."""

        async def run(self) -> None:
            raise WorkUndone

    monkeypatch.setattr("edge_worker.serve.WorkerServer", Server)
    assert run(capsys, "serve", "--backend", "echo") == (1, "")


def test_files_are_classified_on_this_machine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Status 0 when each was answered; with --json the output is one document."""
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    assert cli.main(["local", "echo", str(file), "--backend", "echo", "--json", "--repeat", "2"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["images"][0]["bytes"] == 3
    assert err == ""


def test_a_file_that_failed_is_a_line_and_status_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The others are in the table all the same."""
    file = tmp_path / "file"
    file.touch()
    assert cli.main(["local", "echo", str(file), str(tmp_path / "none"), "--backend", "echo"]) == 1
    out, err = capsys.readouterr()
    assert err == f"edge-worker: {tmp_path / 'none'}: No such file or directory\n"
    assert str(file) in out
    assert "1 of 2 files failed" in out


def test_a_model_that_is_not_here_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing can be asked of it: status 2, and which models there are."""
    status, text = run(capsys, "local", "cats", "x.jpg", "--backend", "echo")
    assert (status, text) == (2, "edge-worker: model = 'cats': is not here; there are: echo\n")
