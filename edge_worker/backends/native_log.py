"""What a native library writes to standard error, kept for whoever wants to say why in one line.

TensorFlow tells why there is no GPU only in its C++ log. Python's `sys.stderr` does not see that, so the file
descriptor itself is turned aside, for the whole process and only while a library is loaded. What is no line of that log
goes on to where it was meant to go, late but whole.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_STDERR = 2
_LOG_LINE = re.compile(
    r"(?:[IWEF]\d{4} [\d:.]+|\d{4}-\d\d-\d\d [\d:.]+: [IWEF]) +\d* ?[\w./-]+:\d+\] (.*)"
    r"|WARNING: All log messages before absl.*"
    r"|To enable the following instructions: .*"
)
_ABOUT_GPU = re.compile(r"cuda|cuinit|gpu|dlopen|dynamic library|driver", re.IGNORECASE)
_NO_REASON = re.compile(r"unable to register|oneDNN|XLA service", re.IGNORECASE)


@contextmanager
def native_lines(lines: list[str]) -> Iterator[None]:
    """Adds the messages of the native log to `lines`; everything else that was written is written in the end."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        kept = os.dup(_STDERR)
        os.dup2(file.fileno(), _STDERR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, _STDERR)
            os.close(kept)
            file.seek(0)
            _sort_out(file.read().decode("utf-8", "replace"), lines)


def gpu_reason(lines: Sequence[str]) -> str:
    """What the messages say about a GPU, each once, in their order; empty when they say nothing."""
    said = [line for line in lines if _ABOUT_GPU.search(line) and not _NO_REASON.search(line)]
    return "; ".join(dict.fromkeys(said))


def _sort_out(text: str, lines: list[str]) -> None:
    for line in text.splitlines(keepends=True):
        match = _LOG_LINE.fullmatch(line.rstrip("\n"))
        if match is None:
            os.write(_STDERR, line.encode())
        elif match[1]:
            lines.append(match[1].strip())
