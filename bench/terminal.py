"""What the programs of this study print to: output and errors, told apart, and harmless to what they show.

Where nobody takes it, bench/start.py lets a program go on. Markup is off where a server's words may come by.
"""

from __future__ import annotations

from rich.console import Console


def output() -> Console:
    """For what a program finds: tables, progress."""
    return Console(emoji=False, markup=False)


def plain() -> Console:
    """For text that is not to be folded or coloured, such as JSON."""
    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


def errors() -> Console:
    """For what a person must know, on stderr."""
    return Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
