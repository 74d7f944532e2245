"""Offline and the ladder, in virtual time."""

from __future__ import annotations

import pytest

from bench.errors import BenchError
from bench.flags import Settings
from bench.scenarios import ladder, offline
from tests.support.studies import flags_of, steps_of
from tests.support.virtual_time import KnownServer, VirtualClock


async def test_offline_counts_until_the_last_answer() -> None:
    """300 pictures of 20 ms on four connections take 1.5 s: 200 a second, whatever each of them waited."""
    flags = flags_of(offline.SCENARIO, "--count", "300", "--connections", "4")
    steps = await steps_of(
        offline.measure,
        flags,
        lambda clock, settings: KnownServer(clock, lambda _: 20, connections=settings.connections),
    )
    found = offline.findings(steps, flags)
    assert found.values["pictures"] == 300
    assert found.values["seconds"] == pytest.approx(1.5)
    assert found.values["pictures_per_second"] == pytest.approx(200)
    assert set(steps[0].run.samples.column("t_int")) == {steps[0].run.started_ns}
    assert any("1.5 s" in note for note in found.notes)


def test_rungs_are_at_equal_ratios() -> None:
    """From 10 to 80 in four: each twice the one before."""
    assert ladder.rungs(10, 80, 4) == pytest.approx([10, 20, 40, 80])
    assert ladder.rungs(10, 5, 1) == [10]
    with pytest.raises(BenchError, match="--to 5 is not above --from 10"):
        ladder.rungs(10, 5, 2)


async def test_the_knee_and_the_end_of_the_ladder() -> None:
    """10 ms up to 40 a second, 30 ms at 80, and one connection that can do 100 a second at 160: power is 1000, 2000,
    4000, 2667; the knee is 40, the last sustained rung 80, and 320 is not tried."""

    def server(clock: VirtualClock, settings: Settings) -> KnownServer:
        assert settings.rate is not None
        latency_ms = 10 if settings.rate < 50 else 30
        return KnownServer(clock, lambda _: latency_ms, connections=1 if settings.rate > 100 else 0)

    flags = flags_of(ladder.SCENARIO, "--from", "10", "--to", "320", "--rungs", "6", "--duration", "20")
    steps = await steps_of(ladder.measure, flags, server)
    found = ladder.findings(steps, flags)
    rates = [round(rung["rate"]) for rung in found.values["rungs"]]
    assert rates == [10, 20, 40, 80, 160]
    assert [rung["is_sustained"] for rung in found.values["rungs"]] == [True, True, True, True, False]
    for rung, latency_s in zip(found.values["rungs"][:4], (0.01, 0.01, 0.01, 0.03), strict=True):
        assert rung["power"] == pytest.approx(rung["achieved"] / latency_s)
    assert round(found.values["knee_rate"]) == 40
    assert round(found.values["highest_sustained_rate"]) == 80


async def test_a_ladder_too_short_says_so() -> None:
    """Where every rung is sustained, the server can do more."""
    flags = flags_of(ladder.SCENARIO, "--from", "10", "--to", "20", "--rungs", "2", "--duration", "50")
    found = ladder.findings(
        await steps_of(ladder.measure, flags, lambda clock, _: KnownServer(clock, lambda _: 1)), flags
    )
    assert found.notes[0].startswith("no rung was too high")


def test_no_rung() -> None:
    """Interrupted before the first rung: no knee."""
    found = ladder.findings([], flags_of(ladder.SCENARIO))
    assert found.values["knee_rate"] is None
    assert not found.is_answered
