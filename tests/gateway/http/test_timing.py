"""Where a request's time went."""

from __future__ import annotations

import math

import pytest

from gateway.dispatch.model import Timing
from gateway.http.timing import (
    MAX_WORKER_STAGES,
    STAGES,
    Stages,
    Stopwatch,
    batch_size_of,
    exchange_stages,
    server_timing,
    timing_ms,
)


def test_stages_come_in_the_order_in_which_they_happen() -> None:
    """A whole exchange gives every stage once, in the documented order."""
    watch = Stopwatch(started=1.0)
    watch.auth_s = 0.001
    watch.exchange_stages = exchange_stages(Timing(worker_s=dict.fromkeys(STAGES[4:10], 0.002)))
    assert watch.stages(now=1.5).names == STAGES


def test_unknown_parts_are_left_out() -> None:
    """A request that was refused early says what is known of it."""
    assert server_timing(Stopwatch(started=1.0).stages(now=1.00025)) == "total;dur=0.250"


@pytest.mark.parametrize(
    ("said", "shown"), [(1, 1), (256, 256), (0, None), (257, None), (True, None), ("4", None), (2.0, None)]
)
def test_a_batch_size_is_a_number_that_one_can_have(said: object, shown: int | None) -> None:
    """What a worker says else is not passed on in the header; without one there is none."""
    assert batch_size_of({"batch_size": said}) == shown
    assert batch_size_of({}) is None


def test_the_batch_is_an_entry_of_its_own() -> None:
    """Without a duration, so that nobody adds it to the others."""
    assert server_timing(Stages(("inference",), (0.002,)), 4) == 'inference;dur=2.000, batch;desc="4"'


def test_a_worker_cannot_forge_the_header() -> None:
    """What is no name, or the gateway's own, is dropped; their number is bounded; negative and endless times are 0."""
    worker_s = {"a, b;dur": 1.0, "Inference": 1.0, "queue": 9.0, "total": 9.0, "decode": -1.0, "wait": math.inf}
    timed = exchange_stages(Timing(queue_s=0.5, worker_s=worker_s))
    stages = dict(zip(*timed, strict=True))
    assert set(stages) == {"queue", "upload", "tunnel_out", "decode", "wait", "tunnel_back"}
    assert stages["queue"] == 0.5
    assert (timing_ms(timed)["decode"], timing_ms(timed)["wait"], timing_ms(timed)["queue"]) == (0.0, 0.0, 500.0)
    many = Timing(worker_s={f"step_{number}": 1.0 for number in range(1000)})
    assert len(exchange_stages(many).names) == 4 + MAX_WORKER_STAGES
