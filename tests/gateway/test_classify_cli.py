"""The command line of `gateway classify`: what is told before anything is read or asked."""

from __future__ import annotations

import argparse

import pytest

from gateway import classify_cli


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gateway")
    classify_cli.register(parser.add_subparsers())
    return parser.parse_args(["classify", *arguments])


@pytest.mark.parametrize(
    ("flag", "value", "allowed"),
    [
        ("--top", "0", "a whole number from 1 to 1000"),
        ("--top", "1001", "a whole number from 1 to 1000"),
        ("--concurrency", "many", "a whole number from 1 to 256"),
        ("--timeout", "soon", "a number of seconds above 0 and at most a day"),
        ("--timeout", "nan", "a number of seconds above 0 and at most a day"),
    ],
)
def test_a_number_out_of_bounds_is_told_once(
    flag: str, value: str, allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2 with the flag, the value and what is allowed, and not an answer for each picture."""
    with pytest.raises(SystemExit) as left:
        parsed("a.png", flag, value)
    assert left.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: argument {flag}: {value!r} is not {allowed}\n")


def test_a_token_is_no_abbreviation_of_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    """`--token SECRET` is not read as --token-file, and no file of that name is looked for."""
    with pytest.raises(SystemExit):
        parsed("a.png", "--token", "SECRET")
    assert "unrecognized arguments: --token" in capsys.readouterr().err
