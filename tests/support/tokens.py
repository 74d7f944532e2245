"""Tokens for running gateways, made in this process: no second is lost between the signature and the use."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from demo.stack import Credentials
from gateway.auth import DEFAULT_AUDIENCE, DEFAULT_ISSUER, sign
from gateway.keys import KeyDirectory

DAY_S = 86_400


def claims(**changes: Any) -> dict[str, Any]:
    """Those of a good token for any worker, for a day."""
    now = int(time.time())
    return {
        "iss": DEFAULT_ISSUER,
        "aud": DEFAULT_AUDIENCE,
        "sub": "by-hand",
        "scope": "worker:*",
        "jti": f"by-hand-{time.monotonic_ns()}",
        "nbf": now - 60,
        "exp": now + DAY_S,
        **changes,
    }


def token(credentials: Credentials, **changes: Any) -> str:
    """Signed by the present key; a change can spoil it."""
    key = KeyDirectory(credentials.keys).signing_key()
    return sign(claims(**changes), key.private_key, key.algorithm, key.kid)


def replace(file: Path, text: str) -> None:
    """Puts a token in the place of another, at once."""
    new = file.with_suffix(".new")
    new.write_text(text)
    os.replace(new, file)
