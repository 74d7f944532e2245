"""Long base64 texts, taken out of a JSON body before it is parsed. Pure.

A JSON reader looks at each character of a text and copies it twice; finding a text's end is one search. So each long
value of a key `b64` is cut out, and a short name stands in its place, which no client can guess.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

LEAST_BYTES = 4096
"""Shorter texts cost the reader less than the search."""

_BEGINS = re.compile(rb'"b64"[ \t\r\n]*:[ \t\r\n]*"')
_KEY = b'"b64"'
_MARK = secrets.token_hex(16)

Lifted = Mapping[str, memoryview]
"""The texts by the names that stand for them."""


def lift(body: bytes) -> tuple[bytes, Lifted]:
    """The body with names in the place of its long base64 texts, and those texts. A text with escapes is left alone."""
    kept: list[bytes] = []
    lifted: dict[str, memoryview] = {}
    done = at = 0
    while (key := body.find(_KEY, at)) >= 0:
        at = key + len(_KEY)
        begins = _BEGINS.match(body, key)
        # After a backslash the quote belongs to a longer key: `"x\"b64": ...`.
        if begins is None or body[key - 1 : key] == b"\\":
            continue
        start = begins.end()
        end = body.find(b'"', start)
        if end - start < LEAST_BYTES or body.find(b"\\", start, end) >= 0:
            continue
        name = f"{_MARK}-{len(lifted)}"
        lifted[name] = memoryview(body)[start:end]
        kept += body[done:start], name.encode()
        done = at = end
    if not lifted:
        return body, lifted
    return b"".join([*kept, body[done:]]), lifted
