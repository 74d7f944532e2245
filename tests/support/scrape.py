"""What a gateway has counted, as its /metrics says."""

from __future__ import annotations

import http.client

from demo.stack import Stack


def scrape(stack: Stack) -> dict[str, float]:
    """Every series by its name with its labels, as Prometheus' text has them. What is not there was never counted."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.admin_port, timeout=60)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {series: float(value) for series, _, value in lines}


def count(stack: Stack, series: str) -> float:
    """How often; 0 before the first time."""
    return scrape(stack).get(series, 0.0)
