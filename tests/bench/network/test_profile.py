"""Profiles say what their sources say, and survive being written down."""

from __future__ import annotations

import pytest

from bench.network.bottleneck import NS, bottlenecks
from bench.network.profile import PROFILES, Profile, in_words, of_json, to_json, with_both_ways
from bench.network.self_test import expected_ms


def trips(name: str, rounds: int = 20_000) -> list[float]:
    """Round trips of the rule alone, sorted, in milliseconds."""
    return sorted(expected_ms(PROFILES[name], 1, rounds))


def test_the_issue_of_names() -> None:
    """Five networks, and one that adds nothing."""
    assert set(PROFILES) == {"direct", "lan", "wifi", "lte", "transatlantic", "satellite"}
    assert all(profile.name == name for name, profile in PROFILES.items())


def test_lte_takes_70_ms() -> None:
    """WebPageTest's LTE: 70 ms there and back on average, 12 Mbit/s each way."""
    times = trips("lte")
    assert sum(times) / len(times) == pytest.approx(70, abs=2)
    assert PROFILES["lte"].up.rate_bits_s == PROFILES["lte"].down.rate_bits_s == 12e6


def test_wifi_has_the_tail_of_its_source() -> None:
    """Over 20 ms for half of the round trips and over 100 ms for a tenth, at times that know nothing of the network.

    One after the other they would be faster: more of them fall into its good moments.
    """
    up, down = bottlenecks(PROFILES["wifi"], 1)
    begun = [place * NS for place in range(20_000)]
    times = sorted((down.admit(100, up.admit(100, now)) - now) / 1e6 for now in begun)
    assert times[len(times) // 2] == pytest.approx(20, rel=0.15)
    assert times[len(times) * 9 // 10] == pytest.approx(100, rel=0.15)


@pytest.mark.parametrize(
    ("name", "least_ms", "most_ms"), [("lan", 0.2, 0.4), ("transatlantic", 55, 90), ("satellite", 477, 650)]
)
def test_round_trips_are_between_physics_and_what_users_see(name: str, least_ms: float, most_ms: float) -> None:
    """Never faster than light, and the median under what the source calls usual."""
    times = trips(name)
    assert times[0] > least_ms
    assert times[len(times) // 2] < most_ms


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_profile_survives_being_written_down(profile: Profile) -> None:
    """What is printed at the start can be given back with --figures, figures without limit included."""
    assert of_json(to_json(profile)) == profile


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "no",
        to_json(PROFILES["lte"]).replace("12000000.0", '"12"'),
        to_json(PROFILES["lte"]).replace("12000000.0", "-1"),
        to_json(PROFILES["lte"]).replace('"stall_s"', '"pause_s"'),
    ],
)
def test_what_is_no_profile_is_refused(text: str) -> None:
    """Each mistake is a ValueError."""
    with pytest.raises(ValueError, match=r"not|delim|Expecting"):
        of_json(text)


def test_both_ways_change_together() -> None:
    """An override reaches up and down, and leaves the rest."""
    profile = with_both_ways(PROFILES["satellite"], delay_s=0.010)
    assert profile.up.delay_s == profile.down.delay_s == 0.010
    assert profile.up.rate_bits_s != profile.down.rate_bits_s


def test_words() -> None:
    """A way reads as a person would say it."""
    assert in_words(PROFILES["lte"].up) == "30 ms + exponential 5 ms, 12 Mbit/s, queue 0.5 s"
    assert in_words(PROFILES["direct"].up) == "0 ms"
