"""Which versions of which models there are, and in what state: over all workers, in the words of the standard APIs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gateway.http.gauges import models_of

STATES = {"ready": "READY", "probing": "LOADING", "ejected": "UNAVAILABLE", "broken": "UNAVAILABLE"}
"""A replica's state in the protocol's words. A model version has the best of its replicas'."""
_RANK = ("READY", "LOADING", "UNAVAILABLE")


def repository_index(workers: Iterable[Mapping[str, object]], *, only_ready: bool) -> list[dict[str, str]]:
    """Each version of each model, in the best state that a worker has it in."""
    best: dict[tuple[str, str], tuple[int, str]] = {}
    for model, version, state, reason in _replicas(workers):
        rank = _RANK.index(STATES.get(state, "UNAVAILABLE"))
        best[model, version] = min(best.get((model, version), (len(_RANK), "")), (rank, reason))
    return [
        {"name": model, "version": version, "state": _RANK[rank], "reason": reason if rank else ""}
        for (model, version), (rank, reason) in sorted(best.items())
        if not (only_ready and rank)
    ]


def _replicas(workers: Iterable[Mapping[str, object]]) -> Iterator[tuple[str, str, str, str]]:
    for worker in workers:
        for model in models_of(worker):
            yield str(model["model"]), str(model["version"]), str(model["state"]), str(model.get("reason", ""))
