"""What bench/local_cost.py and bench.decode_cost are told, and what they say to a person who told them nonsense."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench import decode_cost, local_cost
from bench.load.target import SAMPLES

SEVEN = str(SAMPLES / "digit-7.png")
BROKEN = 'name = "broken"\n'

Program = Callable[[list[str]], int]


@pytest.mark.parametrize("main", [local_cost.main, decode_cost.main])
def test_both_measure_the_embedded_model(main: Program, capsys: pytest.CaptureFixture[str]) -> None:
    """One image and one round are enough for a summary."""
    assert main(["--model", "digits", "--rounds", "1", SEVEN]) == 0
    said = capsys.readouterr()
    assert "digits" in said.out
    assert not said.err


@pytest.mark.parametrize("main", [local_cost.main, decode_cost.main])
def test_what_cannot_be_measured_is_said_in_one_line(
    main: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that is not there, one that cannot be served, a file that is not there or no image: status 2."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.toml").write_text(BROKEN)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    for words, said in (
        (["--model", "none", SEVEN], "there is no model none; there are digits"),
        (["--model", "broken", "--model-dir", str(tmp_path), SEVEN], "the model broken cannot be served: "),
        (["--model", "digits", str(tmp_path / "gone.png")], "No such file or directory"),
        (["--model", "digits", str(text)], "image"),
    ):
        assert main(words) == 2, words
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
        assert "Traceback" not in line


def test_a_folder_of_models_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Is named, as a worker would."""
    assert local_cost.main(["--model-dir", str(tmp_path / "none"), SEVEN]) == 2
    assert capsys.readouterr().err == f"local_cost: model_dir = {tmp_path / 'none'}: is not a folder\n"


@pytest.mark.parametrize("program", [local_cost, decode_cost])
def test_ctrl_c_ends_either_without_a_traceback(
    program: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status is a shell's for an interrupted program."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "found_model", interrupted)
    assert program.main(["--model", "digits", SEVEN]) == 130  # type: ignore[attr-defined]
    assert capsys.readouterr().err.endswith(": interrupted\n")
