"""The worker's table of failures against the gateway's: a direct and a tunnelled run fail alike."""

from __future__ import annotations

import edge_worker.http.errors as ours
import gateway.http.errors as theirs
from edge_worker.exchange_runner import NotAnswered
from edge_worker.http import body, head
from edge_worker.http import server as our_server
from gateway.config import Limits
from gateway.http import head as their_head
from gateway.http import server as their_server
from gateway.tunnel.link import _CLIENT_ERRORS
from wire.errors import ExchangeCode

OUR_WORDS = {"draining"}
"""A server is no gateway: this one's title is its own."""


def test_each_code_has_the_gateways_status() -> None:
    """Status, title and Retry-After of every code are those that the gateway gives it."""
    table = {error.code: entry for error, entry in theirs.STATUS_BY_ERROR.items()}
    for code, entry in ours.ENTRIES.items():
        assert (entry.status, entry.retry_after_s) == (table[code].status, table[code].retry_after_s), code
        assert (entry.title == table[code].title) == (code not in OUR_WORDS), code
    assert ours.CODE_BY_STATUS == theirs.CODE_BY_STATUS


def test_a_document_has_the_gateways_members() -> None:
    """The same members in the same order, so that one client reads both."""
    our_document = ours.problem_of(ours.RequestFailed("bad_input", "no image")).document("r")
    (error,) = (error for error in theirs.STATUS_BY_ERROR if error.code == "bad_input")
    assert our_document == theirs.problem_of(error("no image")).document("r")


def test_each_exchange_code_becomes_what_the_gateway_makes_of_it() -> None:
    """What a worker answers through the tunnel has the same code when it is asked directly."""
    for code, error in _CLIENT_ERRORS.items():
        assert ours.failure_of(NotAnswered(code, "why")).code == error.code, code
    for code in (ExchangeCode.BACKEND_FAILED, ExchangeCode.INTERNAL):
        assert ours.failure_of(NotAnswered(code, "why")).code == "worker_failed"


def test_the_limits_are_the_gateways_defaults() -> None:
    """What is refused here is refused there, unless somebody set it otherwise."""
    limits = Limits()
    assert (limits.default_timeout_s, limits.max_timeout_s) == (head.DEFAULT_TIMEOUT_S, head.MAX_TIMEOUT_S)
    assert (head.DEFAULT_TOP, head.MAX_TOP) == (their_head.DEFAULT_TOP, their_head.MAX_TOP)
    assert (limits.body_stall_s, limits.body_total_s) == (body.STALL_S, body.TOTAL_S)
    assert limits.body_min_rate_bytes_s == body.MIN_RATE_BYTES_S
    assert (limits.max_parts, limits.max_multipart_bytes) == (body.MAX_PARTS, body.MAX_FILES_BYTES)
    assert (limits.max_header_bytes, limits.max_headers) == (our_server.MAX_HEADER_BYTES, our_server.MAX_HEADERS)
    assert limits.header_timeout_s == our_server.HEADER_TIMEOUT_S
    assert limits.keepalive_timeout_s == our_server.KEEPALIVE_S
    assert our_server.READ_BUFFER_BYTES == their_server.READ_BUFFER_BYTES
