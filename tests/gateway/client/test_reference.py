"""docs/reference/python-client.md names what there is: arguments, members, classes and their codes."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import gateway.client
from gateway.client import AsyncClient, Client, ClientError, Result, Timing
from gateway.client.errors import _KINDS

PAGE = (Path(__file__).parents[3] / "docs/reference/python-client.md").read_text(encoding="utf-8")
SUMMED_UP = {"expectation_failed", "headers_too_large", "unsupported", "client_gone"}
"""Codes that no caller of this client meets, or that the page has as "what else is wrong with the request itself"."""


def rows(title: str) -> list[list[str]]:
    """The names in backticks of each cell, by row."""
    text = re.split(r"\n## ", PAGE.split(f"## {title}\n", 1)[1])[0]
    cells = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| `")]
    return [re.findall(r"`(\w+)", " ".join(row)) for row in cells]


def test_each_class_of_error_has_its_codes() -> None:
    """As the table of the source has them."""
    described = {row[0]: set(row[1:]) for row in rows("Errors")}
    assert set(described) == {kind.__name__ for kind in ClientError.__subclasses__()}
    for code, kind in _KINDS.items():
        assert code in described[kind.__name__] | SUMMED_UP, f"{code} is not with {kind.__name__}"


def test_each_member_of_a_result_is_named() -> None:
    """Fields and properties, of the result and of its timing."""
    described = {name for row in rows("Result") for name in row}
    for kind in (Result, Timing):
        members = {field.name for field in dataclasses.fields(kind)}
        members |= {name for name, member in vars(kind).items() if isinstance(member, property)}
        assert members - {"is_shared"} <= described


def test_both_clients_take_the_same() -> None:
    """Arguments and methods, but for what only tests and programs with a loop of their own need."""
    described = {row[0] for row in rows("Client and AsyncClient")}
    arguments = set(inspect.signature(Client).parameters)
    assert arguments <= described
    assert set(inspect.signature(AsyncClient).parameters) - arguments == {"user_agent"}
    for name in ("classify", "classify_batch", "classify_many"):
        assert name in described
        one, other = (inspect.signature(getattr(kind, name)).parameters for kind in (Client, AsyncClient))
        assert {key: value.default for key, value in one.items()} == {
            key: value.default for key, value in other.items()
        }


def test_what_is_public_is_there() -> None:
    """`__all__` names what can be imported."""
    assert all(hasattr(gateway.client, name) for name in gateway.client.__all__)
