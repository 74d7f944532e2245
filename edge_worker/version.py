"""Which version of this package runs, as gateways' operators see it."""

from __future__ import annotations

from importlib import metadata


def software() -> str:
    """Such as `edge-worker/0.1.0`."""
    try:
        return f"edge-worker/{metadata.version('edge-inference-gateway')}"
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "edge-worker/0"
