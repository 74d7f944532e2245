"""Every rule of the one function that assigns."""

from __future__ import annotations

import pytest

from gateway.dispatch.effects import Failure
from gateway.dispatch.model import Priority
from gateway.dispatch.retry import MAX_REFUSALS
from gateway.errors import DeadlineExceeded, Draining, NoWorker, QueueFull, UnknownModel, WorkerFailed, WorkerLost
from tests.support.core_driver import CoreDriver
from tests.support.fake_link import FakeBody, FakeLink


def test_late_binding() -> None:
    """A job stays at the gateway until a worker has a free credit, and is assigned when one comes back."""
    driver = CoreDriver()
    driver.add("a")
    first, second = driver.submit(), driver.submit()
    assert driver.running == [first]
    driver.answer(first)
    assert driver.running == [second]


def test_priority() -> None:
    """A high job leaves the queue before every normal one that is already there."""
    driver = CoreDriver()
    driver.add("a")
    running, _ = driver.submit(), driver.submit()
    high = driver.submit(priority=Priority.HIGH)
    driver.answer(running)
    assert driver.running == [high]


def test_models_do_not_disturb_each_other() -> None:
    """One model's full queue takes nothing from another's."""
    driver = CoreDriver(max_queue_jobs=1)
    driver.join(FakeLink("a"), "m", "n")
    driver.prove()
    driver.prove()
    for _ in range(2):
        driver.submit("m")
    with pytest.raises(QueueFull):
        driver.submit("m")
    driver.submit("n")
    assert [ticket.job.model for ticket in driver.running] == ["m", "n"]


# ---- answers without a worker


def test_unknown_and_absent_models() -> None:
    """A model that nobody ever announced is UnknownModel; one whose workers are gone is NoWorker with a Retry-After."""
    driver = CoreDriver(absence_s=2.0)
    replica = driver.add("a")
    with pytest.raises(UnknownModel):
        driver.submit("other")
    driver.core.leave(replica.link, "gone", driver.now)
    driver.pass_time(2.5)
    with pytest.raises(NoWorker) as caught:
        driver.submit()
    assert caught.value.retry_after_s == driver.settings.no_worker_retry_s


def test_absence() -> None:
    """Jobs wait a while for a worker that may come back; then they are answered NoWorker, before their deadline."""
    driver = CoreDriver(absence_s=2.0)
    replica = driver.add("a")
    driver.core.leave(replica.link, "gone", driver.now)
    ticket = driver.submit()
    driver.pass_time(1.5)
    assert ticket not in driver.errors
    driver.pass_time(1.0)
    assert isinstance(driver.errors[ticket], NoWorker)


def test_first_worker_back() -> None:
    """From the moment that a worker is back its model takes jobs again, while its first inference still runs."""
    driver = CoreDriver(absence_s=2.0)
    driver.core.leave(driver.add("a").link, "gone", driver.now)
    driver.pass_time(60.0)
    driver.join(FakeLink("a"))
    ticket = driver.submit()
    driver.pass_time(1.0)
    driver.prove()
    assert driver.running == [ticket]


def test_queue_full() -> None:
    """A full queue answers QueueFull with the time that the backlog will take, within bounds."""
    driver = CoreDriver(max_queue_jobs=30)
    driver.add("a", 0.100)
    driver.pass_time(0.25)
    for _ in range(31):
        driver.submit()
    with pytest.raises(QueueFull) as caught:
        driver.submit()
    assert caught.value.retry_after_s == pytest.approx(3.0)


@pytest.mark.parametrize(("service_s", "retry_after_s"), [(0.001, 1.0), (1000.0, 30.0)])
def test_retry_after_is_bounded(service_s: float, retry_after_s: float) -> None:
    """The computed Retry-After is never under a second nor over half a minute."""
    driver = CoreDriver(max_queue_jobs=10)
    driver.add("a", service_s)
    driver.pass_time(0.25)
    for _ in range(11):
        driver.submit()
    with pytest.raises(QueueFull) as caught:
        driver.submit()
    assert caught.value.retry_after_s == retry_after_s


def test_full_by_bytes() -> None:
    """The queue is full by bytes as well."""
    driver = CoreDriver(max_queue_bytes=100)
    driver.add("a")
    driver.submit(queued_bytes=1000)
    driver.submit(queued_bytes=60)
    with pytest.raises(QueueFull, match="60 bytes"):
        driver.submit(queued_bytes=60)


def test_draining() -> None:
    """A draining gateway takes nothing new, and goes on with what it has."""
    driver = CoreDriver()
    driver.add("a")
    first, second = driver.submit(), driver.submit()
    driver.core.is_draining = True
    with pytest.raises(Draining):
        driver.submit()
    driver.answer(first)
    driver.answer(second)
    assert driver.core.live_jobs == 0


# ---- deadlines


def test_deadline_in_the_queue() -> None:
    """A waiting job ends at its deadline, to the moment, and the next one is not held up by it."""
    driver = CoreDriver()
    driver.add("a")
    running, late = driver.submit(), driver.submit(deadline_s=0.1)
    driver.pass_time(0.099)
    assert late not in driver.errors
    driver.pass_time(0.001)
    assert driver.errors == {late: None}
    driver.answer(running)
    assert driver.running == []


def test_deadline_while_running() -> None:
    """A running job ends at its deadline, and its credit goes to the next one."""
    driver = CoreDriver()
    driver.add("a")
    driver.submit(deadline_s=0.1)
    following = driver.submit()
    driver.pass_time(0.1)
    assert driver.running == [following]


def test_deadline_before_submission() -> None:
    """A job whose deadline has passed is not taken in."""
    driver = CoreDriver()
    driver.add("a")
    with pytest.raises(DeadlineExceeded):
        driver.submit(deadline_s=0.0)


def test_no_retry_past_the_deadline() -> None:
    """A job that is lost when its deadline has passed is answered so, and goes nowhere else."""
    driver = CoreDriver()
    driver.add("a", 0.001)
    driver.add("b")
    ticket = driver.submit(deadline_s=1.0)
    driver.now += 1.0
    assert isinstance(driver.fail(ticket, Failure.LOST), DeadlineExceeded)


def test_ended_jobs_are_forgotten() -> None:
    """Deadlines of jobs that ended do not pile up."""
    driver = CoreDriver()
    driver.add("a")
    for _ in range(1000):
        driver.answer(driver.submit())
    assert len(driver.core._deadlines) < 100


# ---- retries


def test_lost_job_comes_first() -> None:
    """A job whose worker was lost goes before the jobs that came after it, and not to the worker it was lost on."""
    driver = CoreDriver()
    driver.add("a", 0.001)
    driver.add("b", 0.002)
    first, second, waiting = driver.submit(), driver.submit(), driver.submit()
    assert driver.fail(first, Failure.LOST) is None
    assert driver.workers() == ["b", "a"]
    assert driver.running == [second, waiting]
    driver.answer(second)
    assert driver.running == [waiting, first]
    assert first.attempts == 2


def test_lost_once_more() -> None:
    """A job goes once more to another worker and not twice: one that kills workers would kill them all."""
    driver = CoreDriver()
    for name in "abc":
        driver.add(name)
    ticket = driver.submit()
    assert driver.fail(ticket, Failure.LOST) is None
    assert isinstance(driver.fail(ticket, Failure.LOST), WorkerLost)
    assert driver.core.live_jobs == 0


def test_lost_job_may_return_to_the_only_worker() -> None:
    """The worker that a job was lost on is avoided only while another one is ready."""
    driver = CoreDriver()
    driver.add("a")
    ticket = driver.submit()
    driver.fail(ticket, Failure.LOST)
    assert driver.workers() == ["a"]


def test_body_that_cannot_be_sent_again() -> None:
    """A job whose body is not held any more is not retried."""
    driver = CoreDriver()
    driver.add("a")
    driver.add("b")
    ticket = driver.submit(body=FakeBody(is_replayable=False))
    assert isinstance(driver.fail(ticket, Failure.LOST), WorkerLost)


def test_failed_job() -> None:
    """A job on which an engine failed is tried on another worker; without one it is answered WorkerFailed at once."""
    driver = CoreDriver()
    driver.add("a", 0.001)
    assert isinstance(driver.fail(driver.submit(), Failure.FAILED), WorkerFailed)
    driver.add("b", 0.1)
    ticket = driver.submit()
    assert driver.fail(ticket, Failure.FAILED) is None
    assert driver.workers() == ["b"]
    assert isinstance(driver.fail(ticket, Failure.FAILED), WorkerFailed)


def test_refusals_are_bounded() -> None:
    """Refusals cost no attempt, so a job survives several workers that drain; but it does not go round for ever."""
    driver = CoreDriver(eject_after=0)
    driver.add("a")
    ticket = driver.submit()
    for _ in range(MAX_REFUSALS):
        assert driver.fail(ticket, Failure.REFUSED) is None
    error = driver.fail(ticket, Failure.REFUSED)
    assert isinstance(error, NoWorker)
    assert error.retry_after_s


def test_every_job_ends_once() -> None:
    """Each job's end is told once, with how it ended and where."""
    driver = CoreDriver()
    driver.add("a")
    answered, cancelled = driver.submit(), driver.submit()
    driver.cancel(cancelled)
    driver.cancel(cancelled)
    driver.answer(answered)
    driver.cancel(answered)
    assert driver.observer.ended == [("job2", "cancelled", ""), ("job1", "answered", "a")]


def test_nothing_to_watch() -> None:
    """A core without workers and jobs asks for no waking; one with a worker keeps house."""
    driver = CoreDriver()
    assert driver.core.wake_at() is None
    driver.add("a")
    assert driver.core.wake_at() is not None
