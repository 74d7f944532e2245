"""Groups of exceptions, told as one."""

from __future__ import annotations

import pytest

from gateway.errors import BadInput, SlowBody
from gateway.http.groups import first_error


def test_expected_errors_become_the_first_of_them() -> None:
    """A group of errors for the client, nested or not, is raised as its first one."""
    first = SlowBody("first")
    with pytest.raises(SlowBody) as caught, first_error():
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [first]), BadInput("second")])
    assert caught.value is first


def test_a_bug_is_not_hidden_behind_an_expected_error() -> None:
    """A group that holds anything unexpected stays whole, for the log."""
    with pytest.raises(ExceptionGroup), first_error():
        raise ExceptionGroup("outer", [SlowBody("first"), KeyError("bug")])


def test_nothing_else_is_touched() -> None:
    """What is no group passes."""
    with pytest.raises(KeyError), first_error():
        raise KeyError("bug")
