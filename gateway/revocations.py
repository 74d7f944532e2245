"""The list of tokens that are refused although they verify and have not expired.

A text file with one token on a line, `JTI EXPIRY`: the token's `jti` claim and the Unix second from which the line may
be forgotten, or `never`. `#` begins a comment. It holds no token and no secret. It refuses a line that it does not
understand, because a revocation that is skipped in silence is worse than an error.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from gateway.files import FileError, locked, read_bounded, write_atomically

FIELD = "revocation list"
LIMIT_BYTES = 8 << 20
"""Some 150,000 lines. Whoever revokes more than that should retire the signing key instead."""
FORGET_AFTER_S = 86_400.0
"""A line outlives its token by a day, so that a gateway whose clock is late does not take the token back."""
TOKEN_ID = re.compile(r"[A-Za-z0-9._:@/+=~-]{1,128}")
"""What a `jti` may look like: it must fit on a line of this file, or its token could not be revoked."""

_HEADER = "# Revoked tokens: JTI EXPIRY, one on a line. Written by `gateway token revoke`.\n"


def read_revocations(path: Path, field: str = FIELD) -> frozenset[str]:
    """The `jti` of every revoked token. Raises FileError, also when there is no file: an empty one must be meant."""
    return frozenset(_read(path, field))


def create_revocations(path: Path) -> None:
    """Writes an empty list where there is none yet."""
    if not path.exists():
        _write(path, {})


def revoke(path: Path, token_id: str, expires_at: float, now: float) -> bool:
    """Adds one token and forgets those that expired long ago; False if it was there. `expires_at` is math.inf where it
    is not known.

    Raises ValueError for a `token_id` that no token can have, FileError when the list cannot be read or written.
    """
    if not TOKEN_ID.fullmatch(token_id):
        raise ValueError(f"{token_id[:40]!r} is not a token's jti")
    with locked(FIELD, path.parent):
        kept = {jti: expiry for jti, expiry in _read(path, FIELD).items() if expiry + FORGET_AFTER_S > now}
        is_new = token_id not in kept
        kept[token_id] = max(expires_at, kept.get(token_id, expires_at))
        _write(path, kept)
        return is_new


def _read(path: Path, field: str) -> dict[str, float]:
    try:
        text = read_bounded(field, path, LIMIT_BYTES).decode("ascii")
    except UnicodeDecodeError as error:
        raise FileError(field, path, "not plain ASCII text") from error
    revoked: dict[str, float] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not TOKEN_ID.fullmatch(words[0]) or not re.fullmatch(r"\d{1,15}|never", words[1]):
            raise FileError(field, path, f"line {number}: expected 'JTI EXPIRY', where EXPIRY is Unix seconds or never")
        revoked[words[0]] = math.inf if words[1] == "never" else float(words[1])
    return revoked


def _write(path: Path, revoked: dict[str, float]) -> None:
    lines = (f"{jti} {'never' if math.isinf(expiry) else math.ceil(expiry)}\n" for jti, expiry in revoked.items())
    write_atomically(FIELD, path, (_HEADER + "".join(lines)).encode("ascii"), 0o644)
