"""The texts that name a service time, and the times that are drawn."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_worker.backends.service_time import MAX_SERVICE_TIME_S, ServiceTime, parse_service_time


@pytest.mark.parametrize(
    ("text", "distribution", "numbers"),
    [
        ("20ms", "constant", (0.02,)),
        ("0s", "constant", (0.0,)),
        ("1.5s", "constant", (1.5,)),
        ("800us", "constant", (0.0008,)),
        ("constant:20ms", "constant", (0.02,)),
        ("uniform:10ms,30ms", "uniform", (0.01, 0.03)),
        ("exponential:20ms", "exponential", (0.02,)),
        ("lognormal:20ms,0.5", "lognormal", (0.02, 0.5)),
        ("bimodal:8ms,80ms,0.1", "bimodal", (0.008, 0.08, 0.1)),
        ("bimodal: 8ms, 80ms, 1", "bimodal", (0.008, 0.08, 1.0)),
    ],
)
def test_a_text_names_a_distribution(text: str, distribution: str, numbers: tuple[float, ...]) -> None:
    """Durations carry their unit, and come out in seconds; shares and sigma are plain numbers."""
    parsed = parse_service_time(text)
    assert parsed.distribution == distribution
    assert parsed.numbers == pytest.approx(numbers)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("20", "TIME must be like 20ms"),
        ("", "TIME must be like 20ms"),
        ("-1ms", "TIME must be like 20ms"),
        ("nanms", "TIME must be like 20ms"),
        ("2h", "TIME must be like 20ms"),
        ("3601s", "up to 3600s"),
        ("gauss:20ms", "exponential:MEAN"),
        ("uniform:10ms", "uniform:LEAST,MOST"),
        ("uniform:30ms,10ms", "LEAST must not be over MOST"),
        ("bimodal:8ms,80ms,1.1", "SHARE_OF_SLOW must be a number from 0 to 1"),
        ("bimodal:8ms,80ms,10%", "SHARE_OF_SLOW must be a number from 0 to 1, not '10%'"),
        ("lognormal:20ms,20ms", "SIGMA must be a number from 0 to 10"),
    ],
)
def test_a_wrong_text_is_refused_with_what_is_allowed(text: str, reason: str) -> None:
    """The message repeats the text and names the part that is wrong."""
    with pytest.raises(ValueError, match="must") as caught:
        parse_service_time(text)
    assert repr(text) in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "mean_s", "deviation_s"),
    [
        ("20ms", 0.02, 0.0),
        ("uniform:10ms,30ms", 0.02, 0.0058),
        ("exponential:20ms", 0.02, 0.02),
        ("lognormal:20ms,0.5", 0.02266, 0.01208),  # median exp(s^2/2); (exp(s^2) - 1)^0.5 times that
        ("bimodal:8ms,80ms,0.1", 0.0152, 0.0216),
    ],
)
def test_the_times_that_are_drawn_are_of_the_distribution(text: str, mean_s: float, deviation_s: float) -> None:
    """Mean and standard deviation over many draws are the textbook's, within a few per cent."""
    rng = random.Random(1)
    times = [parse_service_time(text).draw_s(rng) for _ in range(20_000)]
    assert statistics.fmean(times) == pytest.approx(mean_s, rel=0.03)
    assert statistics.pstdev(times) == pytest.approx(deviation_s, rel=0.06)


def test_the_same_seed_draws_the_same_times() -> None:
    """A run can be repeated."""
    service = parse_service_time("exponential:20ms")
    first, second = random.Random(5), random.Random(5)
    assert [service.draw_s(first) for _ in range(9)] == [service.draw_s(second) for _ in range(9)]


def test_no_time_is_beyond_the_most() -> None:
    """The unbounded distributions are cut off."""
    rng = random.Random(1)
    assert max(ServiceTime("lognormal", (3600.0, 10.0)).draw_s(rng) for _ in range(50)) == MAX_SERVICE_TIME_S


@given(st.text(max_size=40))
def test_any_text_is_a_service_time_or_a_refusal(text: str) -> None:
    """Nothing but ValueError comes out."""
    try:
        parse_service_time(text)
    except ValueError:
        return


@pytest.mark.parametrize("text", ["constant:20ms", "uniform:10ms,30ms", "lognormal:20ms,0.5", "bimodal:8ms,80ms,0.1"])
def test_a_service_time_is_shown_as_it_is_written(text: str) -> None:
    """What str() gives can be read again."""
    assert str(parse_service_time(text)) == text
