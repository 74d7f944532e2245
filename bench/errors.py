"""What a person at the keyboard can put right: one class, whose text says what is wrong and what to do.

And the one function through which a server's words reach a terminal.
"""

from __future__ import annotations


class BenchError(Exception):
    """A run that cannot begin, or a result that cannot be written. The text is for the terminal."""


def printable(text: str) -> str:
    """A server's text without what would command a terminal: escape sequences, line ends."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
