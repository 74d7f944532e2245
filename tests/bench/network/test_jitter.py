"""Jitter: named distributions with the mean that was asked for, and a memory that fades with time."""

from __future__ import annotations

import random
import statistics

import pytest

from bench.network.jitter import DISTRIBUTIONS, JitterProcess
from bench.network.profile import Jitter

MS = 1_000_000
VARIED = sorted(DISTRIBUTIONS.keys() - {"none"})


def drawn(jitter: Jitter, count: int, every_ns: int = 1000 * MS, seed: int = 1) -> list[float]:
    process = JitterProcess(jitter, random.Random(seed))
    return [process.next_s(place * every_ns) for place in range(count)]


def percentile_s(jitter: Jitter, q: float) -> float:
    """The delay that a share `q` of all pieces stays under."""
    return jitter.mean_s * DISTRIBUTIONS[jitter.distribution](statistics.NormalDist().inv_cdf(q), jitter.shape)


def correlation(first: list[float], second: list[float]) -> float:
    return statistics.correlation(first, second)


@pytest.mark.parametrize("name", VARIED)
def test_each_distribution_has_the_mean_that_was_asked_for(name: str) -> None:
    """20,000 draws of a mean of 10 ms average 10 ms within 5 %, and none is below 0."""
    delays = drawn(Jitter(name, 0.010), 20_000)
    assert statistics.fmean(delays) == pytest.approx(0.010, rel=0.05)
    assert min(delays) >= 0


@pytest.mark.parametrize("name", VARIED)
def test_memory_does_not_change_the_distribution(name: str) -> None:
    """With a memory of a tenth of the time between draws, or of twice that time, the quantiles are the same."""
    for correlation_s in (0.0, 0.1, 2.0):
        delays = sorted(drawn(Jitter(name, 0.010, correlation_s), 40_000))
        for q in (0.5, 0.9):
            assert delays[int(q * len(delays))] == pytest.approx(percentile_s(Jitter(name, 0.010), q), rel=0.07)


@pytest.mark.parametrize(
    ("name", "q", "multiple"),
    [
        ("uniform", 0.25, 0.5),
        ("exponential", 0.5, 0.693147),
        ("exponential", 0.99, 4.605170),
        ("half-normal", 0.5, 0.845347),  # 0.674490 sigma, sigma = sqrt(pi / 2) means
        ("lognormal", 0.5, 0.606531),  # exp(-1/2)
        ("pareto", 0.875, 2.0),  # 2 * (8 ** (1/3) - 1)
        ("gamma", 0.5, 0.918015),  # of shape 4: 3.672061 / 4
    ],
)
def test_quantiles_are_those_of_the_textbook(name: str, q: float, multiple: float) -> None:
    """Quantiles, in means, as computed by hand; the gamma's is an approximation to 1 %."""
    assert percentile_s(Jitter(name, 1.0), q) == pytest.approx(multiple, rel=0.01 if name == "gamma" else 1e-5)


def test_shape_sets_the_tail() -> None:
    """A lognormal of sigma 2 has 99th over median exp(2 * 2.326), one of sigma 1 exp(2.326)."""
    for sigma, ratio in ((1.0, 10.24), (2.0, 104.8)):
        jitter = Jitter("lognormal", 1.0, shape=sigma)
        assert percentile_s(jitter, 0.99) / percentile_s(jitter, 0.5) == pytest.approx(ratio, rel=0.01)


def test_memory_fades_with_time_and_not_with_pieces() -> None:
    """After one correlation time draws correlate by about 1/e, whether there were ten between them or none."""
    jitter = Jitter("half-normal", 0.010, correlation_s=1.0)
    sparse = drawn(jitter, 30_000)
    dense = drawn(jitter, 300_000, every_ns=100 * MS)
    assert correlation(sparse[:-1], sparse[1:]) == pytest.approx(0.3, abs=0.06)
    assert correlation(dense[:-10], dense[10:]) == pytest.approx(correlation(sparse[:-1], sparse[1:]), abs=0.05)
    assert correlation(dense[:-1], dense[1:]) > 0.8


def test_without_memory_neighbours_are_strangers() -> None:
    """Correlation time 0 gives draws that do not correlate."""
    delays = drawn(Jitter("exponential", 0.010), 20_000)
    assert abs(correlation(delays[:-1], delays[1:])) < 0.03


def test_the_seed_decides() -> None:
    """The same seed gives the same delays; another one gives others."""
    jitter = Jitter("pareto", 0.010, 0.5)
    assert drawn(jitter, 50) == drawn(jitter, 50)
    assert drawn(jitter, 50) != drawn(jitter, 50, seed=2)


def test_no_draw_is_absurd() -> None:
    """The heaviest tail is cut at 1 in 3.5 million: 300 means."""
    process = JitterProcess(Jitter("pareto", 1.0), Extreme())
    assert process.next_s(0) == pytest.approx(2 * (3488555.8 ** (1 / 3) - 1), rel=1e-3)


class Extreme(random.Random):
    """Draws what never happens."""

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        return mu + 40.0 * sigma
