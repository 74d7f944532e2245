"""Where the time went: the parts of each request add up to its response time, whatever a server says."""

from __future__ import annotations

import numpy as np
import pytest

from bench.load.sample import NOT_SENT, Recorder, Sample
from bench.measure.anatomy import anatomy, parts_ms
from tests.support.samples import MS, made

STAGES = [("auth", 0.5), ("inference", 4.0), ("total", 6.0)]


def test_parts_by_hand() -> None:
    """Of 20 ms: 1 lag, 2 connect, 3 TLS, 0.5 and 4 the server's stages, 1 download; 7 are on the way, 1.5 the server
    does not name."""
    parts = parts_ms(made([20], stages=STAGES, connect_ns=2 * MS, tls_ns=3 * MS))
    found = {name: float(values[0]) for name, values in parts.items()}
    expected = {"client_lag": 1, "connect": 2, "tls": 3, "auth": 0.5, "inference": 4, "download": 1}
    assert found == pytest.approx({**expected, "network": 7, "unnamed": 1.5})
    assert list(found)[:5] == ["client_lag", "connect", "tls", "auth", "inference"]


@pytest.mark.parametrize("stages", [STAGES, [], [("inference", 4.0)], [("network", 2.0), ("total", 3.0)]])
def test_parts_add_up(stages: list[tuple[str, float]]) -> None:
    """To R, with a total, without one, without anything, and with a stage that has one of our names."""
    samples = made([20, 30, 40], stages=stages)
    total = sum(parts_ms(samples).values())
    assert np.allclose(total, samples.response_ns / MS)


def test_bars_are_of_the_requests_around_a_percentile() -> None:
    """Of 1 to 1000 ms, the bar of p50 is the mean of 495 to 505, and its parts add up to it."""
    bars = {bar.name: bar for bar in anatomy(made(np.arange(1000) + 3.0, stages=STAGES))}
    assert set(bars) == {"p50", "p90", "p99"}  # too few for p99.9
    assert (bars["p50"].requests, bars["p50"].response) == (11, 502)
    assert bars["p99"].response == 992
    for bar in bars.values():
        assert sum(bar.parts.values()) == pytest.approx(bar.response)
        assert bar.residual == pytest.approx(bar.response - 1 - 1 - 4.5)


def test_failures_have_no_anatomy() -> None:
    """What was not answered has no parts to add up."""
    recorder = Recorder()
    for index in range(400):
        recorder.add(Sample(index, index, t_done_ns=index, reason=NOT_SENT))
    assert anatomy(recorder.samples()) == []
