"""What a person at the keyboard can put right: one class, whose text says what is wrong and what to do."""

from __future__ import annotations


class BenchError(Exception):
    """A run that cannot begin, or a result that cannot be written. The text is for the terminal."""
