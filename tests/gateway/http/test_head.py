"""What a request says of itself before its body."""

from __future__ import annotations

import re

import pytest

from gateway.dispatch.model import Priority
from gateway.errors import BadRequest
from gateway.http import head

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def asked(headers: dict[str, str], *, may_pin: bool = True) -> head.Asked:
    return head.asked_of(headers, default_timeout_s=30.0, max_timeout_s=60.0, may_pin=may_pin)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("abc-1.2_3", "abc-1.2_3"), ("a b\r\nc\x1b[31m", "abc31m"), ("x" * 1000, "x" * 64)],
)
def test_cleans_request_ids(given: str, expected: str) -> None:
    """What could forge a log line is dropped from an id, and it is cut to 64 characters."""
    assert head.request_id_of({"X-Request-ID": given}) == expected


@pytest.mark.parametrize("headers", [{}, {"X-Request-ID": ""}, {"X-Request-ID": "\u20ac \u20ac"}])
def test_makes_request_ids(headers: dict[str, str]) -> None:
    """A request without a usable id gets one of its own."""
    first, second = head.request_id_of(headers), head.request_id_of(headers)
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert first != second


def test_continues_a_trace() -> None:
    """A valid traceparent keeps its trace and flags and gets this hop's parent id."""
    version, trace, span, flags = head.traceparent_of({"traceparent": f"00-{TRACE}-{SPAN}-01"}).split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert span != SPAN


def test_reads_a_later_version_as_this_one() -> None:
    """A version from the future is read by the rules of version 00, and its unknown flags are cleared."""
    assert head.traceparent_of({"traceparent": f"01-{TRACE}-{SPAN}-ff-more"}).endswith("-03")


@pytest.mark.parametrize(
    "given",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
    ],
)
def test_starts_a_trace_for_what_is_not_one(given: str) -> None:
    """An invalid traceparent is replaced, as W3C says, not refused."""
    made = head.traceparent_of({"traceparent": given})
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", made)
    assert TRACE not in made


def test_has_defaults() -> None:
    """A request that asks for nothing gets the default deadline, normal priority and any worker."""
    assert asked({}) == head.Asked(timeout_s=30.0, priority=Priority.NORMAL, pin=None)


def test_reads_what_is_asked() -> None:
    """Deadline in seconds, priority in any case, and the worker's name."""
    headers = {"X-Request-Timeout": "0.25", "X-Priority": "High", "X-Worker": "gpu-1"}
    assert asked(headers) == head.Asked(timeout_s=0.25, priority=Priority.HIGH, pin="gpu-1")


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        *(
            ({"X-Request-Timeout": given}, "at most 60")
            for given in ["", "0", "-1", "61", "1e1", "nan", "inf", "1 s", "\u0663", "9" * 400]
        ),
        ({"X-Priority": "urgent"}, "high or normal"),
        ({"X-Worker": "a b"}, "worker's name"),
        ({"X-Worker": ""}, "worker's name"),
    ],
)
def test_refuses_what_is_not_allowed(headers: dict[str, str], named: str) -> None:
    """A value that is not allowed is refused with what is, never silently capped."""
    with pytest.raises(BadRequest, match=named):
        asked(headers)


def test_refuses_a_pin_without_the_policy() -> None:
    """X-Worker is refused where it would have no effect."""
    with pytest.raises(BadRequest, match="policy"):
        asked({"X-Worker": "gpu-1"}, may_pin=False)


@pytest.mark.parametrize(("query", "expected"), [({}, 5), ({"top": "1"}, 1), ({"top": "1000"}, 1000)])
def test_reads_top(query: dict[str, str], expected: int) -> None:
    """top is 5 unless it is said."""
    assert head.top_of(query) == expected


@pytest.mark.parametrize("given", ["", "0", "1001", "-1", "5.0", "five", "\u0665", "9" * 5000])
def test_refuses_another_top(given: str) -> None:
    """Anything but a whole number from 1 to 1000 is refused."""
    with pytest.raises(BadRequest, match="1000"):
        head.top_of({"top": given})


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb", "a\x00"])
def test_refuses_odd_model_names(name: str) -> None:
    """A model's name is printable and bounded, since it reaches logs and metrics."""
    with pytest.raises(BadRequest):
        head.model_name_of(name)
