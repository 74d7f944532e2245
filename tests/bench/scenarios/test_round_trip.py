"""The script that times every k-th request, and what it hides."""

from __future__ import annotations

import numpy as np
import pytest

from bench.scenarios.round_trip import SCENARIO, TIMED, measure
from tests.support.studies import flags_of, steps_of
from tests.support.virtual_time import KnownServer


async def test_every_kth_is_timed_and_holds_up_the_next() -> None:
    """With a mean wait of 20 ms and every fifth held up for 100 ms more, 5 requests take 200 ms: 25 a second."""
    flags = flags_of(SCENARIO, "--rate", "50", "--every", "5", "--duration", "100")
    steps = await steps_of(measure, flags, lambda clock, _: KnownServer(clock, lambda _: 100))
    samples = steps[0].run.samples
    timed = samples.rows["label"] == samples.labels.index(TIMED)
    assert np.flatnonzero(timed).tolist() == list(range(4, len(samples), 5))
    after = samples.column("t_int")[1:][timed[:-1]]
    assert (after > samples.column("t_done")[:-1][timed[:-1]]).all()
    found = SCENARIO.findings(steps, flags).values
    assert found["timed"]["sent_per_second"] == pytest.approx(25, rel=0.1)
    assert found["open_loop"]["sent_per_second"] == pytest.approx(50, rel=0.1)


async def test_a_pause_is_hidden() -> None:
    """Nothing is answered from 50 to 59 s: of the timed ones a single one sees it, and their p99 is 5 ms; in the open
    loop a tenth of all do."""
    flags = flags_of(SCENARIO, "--rate", "50", "--every", "10", "--duration", "98")
    steps = await steps_of(measure, flags, lambda clock, _: KnownServer(clock, lambda _: 5, pause_ms=(50_000, 59_000)))
    found = SCENARIO.findings(steps, flags)
    assert found.values["timed"]["p99_ms"] == 5
    assert found.values["timed"]["max_ms"] > 8_000
    assert found.values["open_loop"]["p99_ms"] > 7_000
    assert any("quote the open loop" in note for note in found.notes)
