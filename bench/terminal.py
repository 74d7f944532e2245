"""What the programs of this study print to: output and errors, told apart, and harmless to what they show.

A reader that goes away (`| head`) ends the output and not the program: a run is still written. Markup is off where a
server's words may come by.
"""

from __future__ import annotations

import os

from rich.console import Console


class Terminal(Console):
    """rich's, which would end the program when nobody reads any more."""

    def on_broken_pipe(self) -> None:
        """From here on output goes nowhere, also what Python flushes at its end."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)


def output() -> Terminal:
    """For what a program finds: tables, progress."""
    return Terminal(emoji=False, markup=False)


def plain() -> Terminal:
    """For text that is not to be folded or coloured, such as JSON."""
    return Terminal(soft_wrap=True, highlight=False, markup=False, emoji=False)


def errors() -> Terminal:
    """For what a person must know, on stderr."""
    return Terminal(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
