"""The figures of a network, and the named ones.

A profile says what a network does and nothing of how it is done. Every figure of a named profile has its source beside
it, or the word "chosen": then it is a plausible one and no measurement.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

UNLIMITED = math.inf


@dataclass(frozen=True)
class Jitter:
    """What is added to the delay: never below 0, so the delay is the least that is seen."""

    distribution: str = "none"
    """One of `bench.network.jitter.DISTRIBUTIONS`."""
    mean_s: float = 0.0
    correlation_s: float = 0.0
    """The time in which the memory of a value falls to 1/e; 0: each piece draws anew."""
    shape: float = 0.0
    """Sigma of `lognormal`, alpha of `pareto`; 0 for their usual one."""


@dataclass(frozen=True)
class Way:
    """One direction."""

    delay_s: float = 0.0
    rate_bits_s: float = UNLIMITED
    queue_s: float = 0.1
    """The router's buffer before the bottleneck, in seconds of its rate."""
    jitter: Jitter = Jitter()
    loss: float = 0.0
    """Share of packets lost at random. Only packets can be lost: a relay of TCP's bytes leaves it out."""
    loss_burst: float = 1.0
    """Mean length of a run of losses, in packets; 1: each packet is lost or not by itself."""

    @property
    def queue_bytes(self) -> float:
        """The same buffer in bytes; infinite without a rate."""
        return self.rate_bits_s / 8 * self.queue_s


@dataclass(frozen=True)
class Profile:
    """A network between who dials (up: away from it) and who is dialled."""

    name: str
    up: Way
    down: Way
    stall_every_s: float = 0.0
    """Mean time from the end of a stall to the next one; 0: none. Both ways stall together."""
    stall_s: float = 0.0
    """Mean length of a stall."""
    reset_every_s: float = 0.0
    """Mean life of a connection until the network resets it; 0: never."""


def _both(way: Way, down: Way | None = None) -> tuple[Way, Way]:
    return way, down or way


DIRECT = Profile("direct", *_both(Way()))
"""Adds nothing but the relay itself: what self_test.py measures."""

# One Ethernet switch. Rate: IEEE 802.3ab, 1000BASE-T. Chosen: 0.2 ms there and back, some microseconds of other
# traffic's frames (one full frame takes 12 us at this rate), a buffer of 5 ms.
LAN = Profile("lan", *_both(Way(0.0001, 1e9, 0.005, Jitter("exponential", 0.00002, 0.001))))

# A busy radio cell. Jitter: Pei et al., "WiFi can be the weakest link of round trip network latency in the wild",
# INFOCOM 2016, 47 access points: the hop took over 20 ms for half of the packets and over 100 ms for a tenth. The
# lognormal below gives just that over both ways together (a test computes it). Chosen: 60 Mbit/s, 0.2 s of buffer, a
# memory of 20 ms, and 0.1 % in runs of 3 lost after the radio's own repetitions.
WIFI = Profile("wifi", *_both(Way(0.001, 60e6, 0.2, Jitter("lognormal", 0.0225, 0.02, 1.65), 0.001, 3.0)))

# Rate and round trip (12 Mbit/s each way, 70 ms, nothing lost): the LTE of WebPageTest's connectivity.ini. Chosen: that
# 10 of the 70 ms vary, since uplink grants come every 10 ms and a repetition of the radio takes 8 (HARQ, 3GPP TS
# 36.321); half a second of buffer, where Jiang et al., "Tackling Bufferbloat in 3G/4G Networks", IMC 2012, saw up to
# seconds; a handover a minute, of 50 ms.
LTE = Profile(
    "lte", *_both(Way(0.030, 12e6, 0.5, Jitter("exponential", 0.005, 0.05))), stall_every_s=60.0, stall_s=0.05
)

# London to New York. 5,570 km of great circle are 55 ms there and back in glass (204 km/ms); Verizon guarantees 90 ms
# as the mean of a month, and 99.5 % delivered. Chosen: 75 ms, a two-hundredth of that loss, 200 Mbit/s, 0.1 s of
# buffer.
TRANSATLANTIC = Profile("transatlantic", *_both(Way(0.037, 200e6, 0.1, Jitter("gamma", 0.0005, 0.01), 0.000025)))

# A geostationary one, 35,786 km up: four times that at the speed of light is 477 ms below it, and about 600 ms is what
# users see (FCC, 2020 draft of the Rural Digital Opportunity Fund's rules, on which "high latency" rests). Rates: what
# the FCC then called broadband, 25 and 3 Mbit/s. Chosen: a jitter of 20 ms for the return channel's slots, a second of
# buffer, 0.05 % in runs of 5 lost to rain.
SATELLITE = Profile(
    "satellite",
    *_both(
        Way(0.280, 3e6, 1.0, Jitter("exponential", 0.020, 0.1), 0.0005, 5.0),
        Way(0.280, 25e6, 1.0, Jitter("exponential", 0.020, 0.1), 0.0005, 5.0),
    ),
)

PROFILES = {one.name: one for one in (DIRECT, LAN, WIFI, LTE, TRANSATLANTIC, SATELLITE)}


def with_both_ways(profile: Profile, **changes: float | Jitter) -> Profile:
    """The same with these fields of both ways replaced."""
    return replace(
        profile,
        up=replace(profile.up, **changes),  # type: ignore[arg-type]
        down=replace(profile.down, **changes),  # type: ignore[arg-type]
    )


def in_words(way: Way) -> str:
    """Such as `30 ms + exponential 5 ms, 12 Mbit/s, queue 0.5 s`."""
    parts = [f"{way.delay_s * 1000:g} ms"]
    if way.jitter.mean_s:
        parts[0] += f" + {way.jitter.distribution} {way.jitter.mean_s * 1000:g} ms"
    if way.rate_bits_s != UNLIMITED:
        parts += [f"{way.rate_bits_s / 1e6:g} Mbit/s", f"queue {way.queue_s:g} s"]
    return ", ".join(parts)


def to_json(profile: Profile) -> str:
    """One line; `of_json` gives the same profile. A rate without limit is null."""
    figures = asdict(profile)
    for way in (figures["up"], figures["down"]):
        if way["rate_bits_s"] == UNLIMITED:
            way["rate_bits_s"] = None
    return json.dumps(figures)


def of_json(text: str) -> Profile:
    """Raises ValueError for what is no profile."""
    try:
        figures = json.loads(text)
        up, down = _way_of(figures.pop("up")), _way_of(figures.pop("down"))
        profile = Profile(str(figures.pop("name")), up, down, **_numbers(figures))
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not the figures of a profile: {error}") from error
    return profile


def _way_of(figures: dict[str, object]) -> Way:
    jitter = figures.pop("jitter")
    if not isinstance(jitter, dict):
        raise TypeError("jitter is no object")
    distribution = str(jitter.pop("distribution"))
    rate = figures.pop("rate_bits_s")
    numbers = _numbers({**figures, "rate_bits_s": UNLIMITED if rate is None else rate})
    return Way(jitter=Jitter(distribution, **_numbers(jitter)), **numbers)


def _numbers(figures: Mapping[str, object]) -> dict[str, float]:
    for name, value in figures.items():
        if not isinstance(value, int | float) or not value >= 0:
            raise ValueError(f"{name} is {value!r}, not a number from 0 on")
    return dict(figures)  # type: ignore[arg-type]  # just looked at
