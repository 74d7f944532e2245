"""What a person reads and what a program reads of one walk through a folder."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.classification.score import Result, Score

Z_95 = 1.959964
"""Two-sided 95 % of the normal distribution."""


@dataclass(frozen=True)
class Walk:
    """Everything that is reported."""

    url: str
    pictures: int
    """In the folder."""
    results: Sequence[Result]
    seconds: float
    sent_bytes: int
    """Of the pictures that are over."""
    requests: int
    waited_s: float
    score: Score | None

    @property
    def classified(self) -> int:
        """Pictures with an answer."""
        return sum(not result.reason for result in self.results)

    @property
    def images_per_second(self) -> float:
        """Answers per second of the whole run, waits included."""
        return self.classified / self.seconds if self.seconds else 0.0

    def failures(self) -> Counter[str]:
        """By reason; those that were not come to are `not_sent`."""
        counts = Counter(result.reason for result in self.results if result.reason)
        if missing := self.pictures - len(self.results):
            counts["not_sent"] = missing
        return counts


def wilson(count: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927): right also near 0 and 1 and for few."""
    share, square = count / of, Z_95 * Z_95
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = Z_95 / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def as_json(walk: Walk) -> dict[str, Any]:  # Any: JSON
    """The object of --json; docs/reference/bench-client.md lists its members."""
    return {
        "url": walk.url,
        "pictures": walk.pictures,
        "classified": walk.classified,
        "failures": dict(walk.failures().most_common()),
        "seconds": round(walk.seconds, 3),
        "images_per_second": round(walk.images_per_second, 3),
        "bytes": walk.sent_bytes,
        "requests": walk.requests,
        "waited_s": round(walk.waited_s, 3),
        "workers": dict(_workers(walk.results).most_common()),
        "score": None if walk.score is None else _score_json(walk.score),
        "results": [_result_json(result) for result in sorted(walk.results, key=lambda one: one.name)],
    }


def lines(results: Sequence[Result]) -> Iterator[str]:
    """One for each picture, by name: what it is, how sure, and whether that is right."""
    for result in sorted(results, key=lambda one: one.name):
        cells = [result.name]
        if result.reason:
            cells += [f"failed: {result.reason}", result.detail]
        else:
            best = result.predictions[0] if result.predictions else None
            cells += [best.label, f"{best.probability:.4f}"] if best else ["", ""]
            cells += [verdict] if (verdict := _verdict(result)) else []
        yield "\t".join(map(_printable, cells))


def show(console: Console, walk: Walk) -> None:
    """The tables at the end."""
    console.print(
        f"\n{walk.classified} of {walk.pictures} pictures in {walk.seconds:.2f} s: "
        f"{walk.images_per_second:.1f} images/s, {walk.sent_bytes / 1e6 / max(walk.seconds, 1e-9):.1f} MB/s, "
        f"{walk.requests} requests, {walk.waited_s:.1f} s of waits to try again",
        highlight=False,
    )
    for reason, count in walk.failures().most_common():
        console.print(f"  {count} {reason}: {_example(walk.results, reason)}", highlight=False)
    if walk.score is not None:
        _show_score(console, walk.score)


def _show_score(console: Console, score: Score) -> None:
    for name, count in (("top-1", score.top1), ("top-5", score.top5)):
        low, high = wilson(count, score.labelled)
        text = f"{name}  {count}/{score.labelled} = {100 * count / score.labelled:.1f} %"
        console.print(f"{text}  (95 %: {100 * low:.1f} to {100 * high:.1f})", highlight=False)
    if not score.confusions:
        return
    table = Table(title="taken for another")
    for name in ("is", "was called", "times", "surest", "such as"):
        table.add_column(name, justify="right" if name in ("times", "surest") else "left")
    for one in score.confusions:
        table.add_row(*map(_printable, (one.truth, one.answer, str(one.count), f"{one.probability:.4f}", one.example)))
    console.print(table)


def _verdict(result: Result) -> str:
    if result.is_right() is None:
        return ""
    if result.is_right():
        return "right"
    assert result.truth is not None
    return f"{'in top 5' if result.is_right(5) else 'wrong'}: {result.truth.label}"


def _printable(text: str) -> str:
    """Names of files and labels are others' text: no tab, no line's end, nothing that a terminal obeys."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _example(results: Sequence[Result], reason: str) -> str:
    found = next((result for result in results if result.reason == reason), None)
    return f"{_printable(found.name)}: {_printable(found.detail)}" if found else "the run ended before"


def _workers(results: Sequence[Result]) -> Counter[str]:
    return Counter(result.worker for result in results if result.worker)


def _score_json(score: Score) -> dict[str, Any]:  # Any: JSON
    shares = {
        name: {"count": count, "share": count / score.labelled, "interval_95": wilson(count, score.labelled)}
        for name, count in (("top1", score.top1), ("top5", score.top5))
    }
    return {"labelled": score.labelled, **shares, "confusions": [vars(one) for one in score.confusions]}


def _result_json(result: Result) -> dict[str, Any]:  # Any: JSON
    given: dict[str, Any] = {"file": result.name, "tries": result.tries}
    if result.reason:
        return {**given, "reason": result.reason, "detail": result.detail}
    given |= {"worker": result.worker, "predictions": [vars(one) for one in result.predictions]}
    if result.truth is not None:
        given |= {"truth": vars(result.truth), "is_top1": result.is_right(), "is_top5": result.is_right(5)}
    return given
