"""One job's answer, completed for the client."""

from __future__ import annotations

from gateway.http.body import WholeBody
from gateway.http.exchange import Exchanger
from gateway.http.statistics import Statistics
from gateway.metrics import Metrics
from tests.support.fake_link import make_job
from tests.support.http_gateway import FakeDispatcher


async def test_receiving_the_body_is_part_of_the_upload() -> None:
    """What was waited for before a worker was asked for and what was waited for afterwards are one duration."""
    job = make_job("digits")
    job.body = WholeBody([b"picture"])
    answer = await Exchanger(FakeDispatcher(), Metrics(), Statistics()).labels(job, received_s=0.5)
    assert dict(zip(*answer.stages, strict=True))["upload"] == 0.02 + 0.5
