"""The generator against servers whose latencies are known, in virtual time: every number here was computed by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pytest

from bench.load.arrivals import NS, Arrivals, WarmUp, constant
from bench.load.generator import Generator, Plan, Run
from bench.load.sample import INTERRUPTED, NOT_SENT, Recorder
from bench.measure import rates
from bench.measure.summary import About, Summary, is_strictly_good, summarize
from tests.support.virtual_time import MS, KnownServer, VirtualClock

EVERY_10_MS = Arrivals("constant", "constant, 100/s", partial(constant, 100), 10 * MS)
TEN_SECONDS = Plan(EVERY_10_MS, duration_ns=10 * NS)
CLOSED = Plan(None, closed_loops=1, duration_ns=10 * NS)
ABOUT = About("http://known/", "constant, 100/s", "constant", 100.0, 0, True, 10.0, 1, 1, 1000.0)


async def run_of(plan: Plan, clock: VirtualClock, server: KnownServer) -> Run:
    with closing(Recorder()) as recorder:
        return await clock.drive(Generator(plan, server, clock, recorder).run())


async def summary_of(plan: Plan, latency_ms: Callable[[int], float], **server: object) -> Summary:
    clock = VirtualClock()
    run = await run_of(plan, clock, KnownServer(clock, latency_ms, **server))  # type: ignore[arg-type]
    return summarize(run, ABOUT, {}, datetime(2026, 1, 1, tzinfo=UTC))


def values(distribution: Summary) -> dict[str, float]:
    return {name: one["value"] for name, one in distribution["percentiles"].items() if one is not None}


async def test_a_fixed_latency_is_every_percentile_and_no_jitter() -> None:
    """Twenty milliseconds each: all percentiles are 20, all measures of jitter 0, and two requests are present."""
    summary = await summary_of(TEN_SECONDS, lambda _: 20)
    assert values(summary["response_ms"]) == {"p50": 20, "p75": 20, "p90": 20, "p95": 20, "p99": 20}
    jitter = summary["jitter_ms"]
    assert [jitter[name] for name in ("rfc3550", "ipdv_mean", "ipdv_p99", "std", "mad", "p99_p50")] == [0] * 6
    assert jitter["pdv"] == {"p50": 0, "p95": 0, "p99": 0, "p99.9": None}
    assert summary["rates"]["offered"] == 100
    assert summary["rates"]["achieved"] == pytest.approx(1000 / 10.01)  # sent at 9.99 s, the last is back at 10.01
    assert summary["little"]["present"] == pytest.approx(2, rel=0.01)
    assert summary["little"]["holds"]
    assert is_strictly_good(summary)


async def test_two_modes() -> None:
    """Every tenth takes 95 ms, the others 10: percentiles, IPDV, deviation and RFC 3550's J as on paper."""
    summary = await summary_of(TEN_SECONDS, lambda index: 95 if index % 10 == 9 else 10)
    assert values(summary["response_ms"]) == {"p50": 10, "p75": 10, "p90": 10, "p95": 95, "p99": 95}
    jitter = summary["jitter_ms"]
    assert jitter["ipdv_mean"] == pytest.approx(199 * 85 / 999)  # two steps at each of 100 slow ones, one at the last
    assert (jitter["ipdv_p50"], jitter["ipdv_p99"]) == (0, 85)
    assert jitter["pdv"] == {"p50": 0, "p95": 85, "p99": 85, "p99.9": None}
    assert jitter["std"] == pytest.approx((100 * 900 / 1000 * 85**2 / 999) ** 0.5)
    assert (jitter["mad"], jitter["p99_p50"]) == (0, 85)
    # By arrival, one slow answer comes among ten: steps of 85, 85 and eight of 0, for ever. The last slow one, which
    # nothing follows, adds one step of 85 to the highest J of that cycle.
    a = 15 / 16
    before = a**8 * (1 + a) * 85 / 16 / (1 - a**10)
    highest = a**2 * before + (1 + a) * 85 / 16
    assert jitter["rfc3550"] == pytest.approx(a * highest + 85 / 16)
    assert jitter["rfc3550_max"] == pytest.approx(a * highest + 85 / 16)


async def test_a_pause_is_seen_by_all_that_should_have_been_sent_in_it() -> None:
    """Nothing is answered from 5.0 to 6.4 s: the 140 requests of that time wait for its end, 20, 30, ... to 1410 ms."""
    summary = await summary_of(TEN_SECONDS, lambda _: 10, pause_ms=(5000, 6400))
    assert values(summary["response_ms"]) == {"p50": 10, "p75": 10, "p90": 410, "p95": 910, "p99": 1310}
    assert summary["response_ms"]["max"] == 1410
    assert summary["jitter_ms"]["p99_p50"] == 1300
    assert is_strictly_good(summary)


async def test_one_connection_does_not_hide_the_pause() -> None:
    """With 5 ms each on one connection, the backlog of the pause drains in 280 requests: 1405, 1400, ... to 10 ms. The
    service time saw one slow request, and its p99 is 271 times too good. That requests waited for the connection is
    said."""
    summary = await summary_of(TEN_SECONDS, lambda _: 5, pause_ms=(5000, 6400), connections=1)
    assert values(summary["response_ms"]) == {"p50": 5, "p75": 155, "p90": 905, "p95": 1155, "p99": 1355}
    assert values(summary["service_ms"])["p99"] == 5
    assert summary["send_lag_ms"]["p99"] == 1345
    assert summary["send_lag_ms"]["connection_wait_p99"] == 1345
    assert summary["send_lag_ms"]["is_generator_limited"]
    assert "waited for a free connection" in summary["verdicts"][0]
    assert not is_strictly_good(summary)


async def test_a_closed_loop_hides_the_pause_and_says_so() -> None:
    """One after the other, 1000 requests go before the pause, one in it and 719 after: its p99 is 5 ms."""
    summary = await summary_of(CLOSED, lambda _: 5, pause_ms=(5000, 6400))
    assert summary["rates"]["intended"] == 1720
    assert values(summary["response_ms"])["p99"] == 5
    assert summary["response_ms"]["max"] == 1405
    assert any(verdict.startswith("closed loop") for verdict in summary["verdicts"])


async def test_the_schedule_is_kept_when_the_generator_is_late() -> None:
    """The generator sleeps through 300 ms: the requests of that time leave at its end, and count from when they were
    due."""
    clock = VirtualClock(lambda when_ns: 300 * MS if when_ns == clock_start + 5 * NS else 0)
    clock_start = clock.now_ns()
    run = await run_of(TEN_SECONDS, clock, KnownServer(clock, lambda _: 10))
    lags = run.samples.lag_ns // MS
    assert run.samples.column("t_int").tolist() == [clock_start + index * 10 * MS for index in range(1000)]
    assert lags[500:532].tolist() == [*range(300, -1, -10), 0]
    assert (run.samples.response_ns == run.samples.lag_ns + 10 * MS).all()
    lag = rates.lag(run.samples)
    assert lag is not None
    assert (lag.p99, lag.largest, lag.is_generator_limited) == (200, 300, True)


async def test_more_than_may_be_in_flight_is_counted_as_not_sent() -> None:
    """Of 100 requests to a server that never answers, 5 are sent, 95 are recorded as never sent, and --strict fails."""
    clock = VirtualClock()
    plan = Plan(EVERY_10_MS, count=100, timeout_ns=60 * NS, max_in_flight=5)
    run = await run_of(plan, clock, KnownServer(clock, lambda _: 1e9))
    assert rates.failures(run.samples) == [(NOT_SENT, 0, 95), ("timeout", 0, 5)]
    found = rates.rates(run, run.samples)
    assert (found.intended, found.sent, found.not_sent, found.succeeded) == (100, 5, 95, 0)
    assert found.offered == 100
    assert run.ended_ns == clock.now_ns()
    assert run.samples.response_ns.max() == 60 * NS  # a failure stands at its time-out


async def test_the_warm_up_is_sent_recorded_and_dropped() -> None:
    """The first second is slow; the samples have it, the measures have not."""
    plan = Plan(EVERY_10_MS, duration_ns=11 * NS, warm_up=WarmUp(duration_ns=NS))
    clock = VirtualClock()
    run = await run_of(plan, clock, KnownServer(clock, lambda index: 500 if index < 100 else 10))
    assert (len(run.samples), len(run.samples.measured())) == (1100, 1000)
    assert run.samples.measured().response_ns.max() == 10 * MS
    assert run.measured_to_ns - run.measured_from_ns == 10 * NS


async def test_a_warm_up_of_requests_begins_the_window_with_the_next_one() -> None:
    """After 20 dropped requests 80 are counted, and the gap after the last belongs to the window: 100 a second."""
    clock = VirtualClock()
    plan = Plan(EVERY_10_MS, count=100, warm_up=WarmUp(count=20))
    run = await run_of(plan, clock, KnownServer(clock, lambda _: 1))
    found = rates.rates(run, run.samples.measured())
    assert (found.intended, found.window_s, found.offered) == (80, 0.8, 100)


async def test_stopping_keeps_every_sample() -> None:
    """Stopped after 2.005 s, with requests in flight: these are waited for, and the window ends where the schedule
    did."""
    clock = VirtualClock()
    generator = Generator(TEN_SECONDS, KnownServer(clock, lambda _: 50), clock, Recorder())

    async def stop() -> None:
        await clock.pass_ns(2005 * MS)
        generator.stop()

    stopper = asyncio.create_task(stop())
    run = await clock.drive(generator.run())
    await stopper
    assert run.is_interrupted
    assert len(run.samples) == 201
    assert run.samples.is_ok.all()
    assert run.measured_to_ns - run.started_ns == 2005 * MS
    assert run.ended_ns - run.started_ns == 2050 * MS


@pytest.mark.parametrize("plan", [TEN_SECONDS, CLOSED], ids=["open", "closed"])
async def test_cutting_records_what_was_in_flight(plan: Plan) -> None:
    """Cut off at 2.005 s, what had no answer is there as interrupted, until then."""
    clock = VirtualClock()
    generator = Generator(plan, KnownServer(clock, lambda _: 50), clock, Recorder())

    async def cut() -> None:
        await clock.pass_ns(2005 * MS)
        generator.stop()
        generator.cut()

    cutter = asyncio.create_task(cut())
    run = await clock.drive(generator.run())
    await cutter
    cut_off = run.samples.take(~run.samples.is_ok)
    assert [reason for reason, _, _ in rates.failures(run.samples)] == [INTERRUPTED]
    assert set(cut_off.column("t_done")) == {run.started_ns + 2005 * MS}
    assert generator.in_flight == 0


async def test_a_broken_schedule_is_an_error_and_no_silence() -> None:
    """What a schedule raises comes out of the run."""
    clock = VirtualClock()
    broken = Arrivals("constant", "", lambda: (1 // 0 for _ in range(1)), 1)
    with pytest.raises(ZeroDivisionError):
        await run_of(Plan(broken, count=1), clock, KnownServer(clock, lambda _: 1))


async def test_samples_are_in_the_schedule_s_order() -> None:
    """Requests end in another order than they begin; their samples are by index."""
    clock = VirtualClock()
    run = await run_of(Plan(EVERY_10_MS, count=50), clock, KnownServer(clock, lambda index: 500 - 10 * index))
    assert run.samples.column("index").tolist() == list(range(50))
    assert np.all(np.diff(run.samples.column("t_done")) == 0)
