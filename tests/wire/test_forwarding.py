"""What both ends agree on when they pass on HTTP."""

from __future__ import annotations

import pytest

from wire.forwarding import HOP_BY_HOP, VALUE, end_to_end


def test_what_is_passed_on() -> None:
    """Not what is between neighbours, nor what Connection names."""
    fields = [("connection", "close, X-Private"), ("x-private", "1"), ("keep-alive", "1"), ("x", "1"), ("x", "2")]
    assert end_to_end(fields) == [("x", "1"), ("x", "2")]
    assert end_to_end([(name, "1") for name in HOP_BY_HOP]) == []


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\n", "a\x00", "\u0100"])
def test_a_value_stays_in_its_line(value: str) -> None:
    """Nothing in it ends the field, and every character is one byte."""
    assert VALUE.fullmatch(value) is None
