"""Writes the numbers and pictures of docs/explanation/dispatch-simulation.md. Its sentences are written by hand.

Numbers stand between two comments of the page, `<!-- sim:NAME -->` and `<!-- end -->`; what is between is replaced.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.simulation import balancers, studies
from bench.simulation.scenario import Scenario
from bench.simulation.studies import AT_ONCE, LATE, Progress

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "dispatch-simulation.md"
COMMAND = "python bench/sim.py page"

_LOADS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)

TABLES: dict[str, Callable[[Progress, float], list[list[str]]]] = {
    "table": studies.table,
    "target": studies.target,
    "balancers": balancers.table,
    "ideal": studies.against_ideal,
    "losses": studies.losses,
    "large": studies.large,
}


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table; the first row is its head."""
    head, *body = rows
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def replaced(text: str, name: str, content: str) -> str:
    """The page with this block's content. Raises ValueError if it has no such block."""
    block = re.compile(rf"(<!-- sim:{name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not block.search(text):
        raise ValueError(f"the page has no block named {name}")
    return block.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def write_page(progress: Progress, page: Path = PAGE, scale: float = 1.0) -> None:
    """Runs every study and writes the page and its pictures beside it."""
    blocks = {name: markdown(study(progress, scale)) for name, study in TABLES.items()}
    blocks["machine"] = f"{_machine()}, {datetime.now(UTC):%-d %B %Y}. Made by `{COMMAND}`."
    draw(progress, page.parent, scale)
    text = page.read_text(encoding="utf-8")  # only now: the studies take minutes, and somebody may have edited it
    for name, block in blocks.items():
        text = replaced(text, name, block)
    page.write_text(text, encoding="utf-8")


def draw(progress: Progress, folder: Path, scale: float = 1.0) -> None:
    """The two pictures."""
    from bench.simulation import pictures  # matplotlib takes a second to load, and only this wants it

    contenders = (LATE[4], LATE[3], AT_ONCE[3], AT_ONCE[2], AT_ONCE[1])
    base = Scenario(studies.MIXED, 0.5, int(studies.JOBS * scale))
    curves = list(studies.over_load(base, _LOADS, contenders, progress))
    title = "2 workers of 8 ms and 4 of 80 ms"
    pictures.draw_over_load(folder / "dispatch-simulation-load.svg", curves, title)
    stall, curves = studies.stall_over_time(progress, scale)
    title = "One of two fast workers stalls for 20 s, load 0.5"
    pictures.draw_stall(folder / "dispatch-simulation-stall.svg", stall, curves, title)


def _machine() -> str:
    """Processor, Python, system: what the duration of a run depends on."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file() and (match := re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE)):
        processor = match[1]
    return f"{processor}, one core, Python {platform.python_version()}, {platform.system()}"
