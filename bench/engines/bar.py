"""One line of the result: a ratio, the bar that it is held to, and in which words."""

from __future__ import annotations

from dataclasses import dataclass

from bench.engines.turns import Ratio

TUNED_FOR = "mobilenet_v2"
"""The model that the bars are for; with another one the ratios are shown, and not judged."""


@dataclass(frozen=True)
class Bar:
    """A bound; None: shown only."""

    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        if self.least is not None:
            return f"at least {self.least:g}"
        return "" if self.most is None else f"at most {self.most:g}"

    def verdict(self, value: float) -> str:
        """'' where there is no bound."""
        if self.least is None and self.most is None:
            return ""
        is_met = (self.least is None or value >= self.least) and (self.most is None or value <= self.most)
        return "met" if is_met else "missed"


@dataclass(frozen=True)
class Line:
    """One comparison."""

    text: str
    ratio: Ratio
    bar: Bar = Bar()
    cpu: float | None = None
    """The same by CPU time, where that says something."""

    def judged_for(self, model: str) -> Line:
        """The same; without a bar where the bars are not for this model."""
        return self if model == TUNED_FOR else Line(self.text, self.ratio, Bar(), self.cpu)

    @property
    def verdict(self) -> str:
        return self.bar.verdict(self.ratio.median)
