"""An issuer with real keys in a temporary directory, a clock that is set by hand, and tokens good or bad on purpose."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from gateway.auth import DEFAULT_AUDIENCE, DEFAULT_ISSUER, Authenticator
from gateway.keys import KeyDirectory, SigningKey

NOW = 1_800_000_000
"""The hour that tests begin in, Unix seconds."""


@dataclass
class Clock:
    """Unix seconds that only move when told."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


class Issuer:
    """A keys directory with one key; `token()` is a good token and each argument can spoil it."""

    def __init__(self, path: Path, algorithm: str = "EdDSA") -> None:
        self.directory = KeyDirectory(path)
        self.directory.init(algorithm, NOW)
        self._issued = 0

    @property
    def key(self) -> SigningKey:
        return self.directory.signing_key()

    def claims(self, **changes: Any) -> dict[str, Any]:
        """The claims of a good token, an hour long; a change to None leaves the claim out."""
        self._issued += 1
        claims = {
            "iss": DEFAULT_ISSUER,
            "aud": DEFAULT_AUDIENCE,
            "sub": "lab-1",
            "scope": "worker:lab-1 infer:digits",
            "jti": f"token-{self._issued}",
            "nbf": NOW,
            "exp": NOW + 3600,
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, **changes: Any) -> str:
        return self.sign(self.claims(**changes))

    def sign(self, claims: dict[str, Any], kid: str | None = None) -> str:
        """Any JSON, also what a proper issuer would not sign."""
        key = self.key
        payload = json.dumps(claims).encode()
        return jwt.PyJWS().encode(payload, key.private_key, key.algorithm, headers={"kid": kid or key.kid})

    def authenticator(self, clock: Clock, **settings: Any) -> Authenticator:
        """A gateway's view of this issuer's public files."""
        return Authenticator(
            self.directory.jwks_file, self.directory.revocations_file, clock=clock, leeway_s=5, **settings
        )


def bearer(token: str) -> str:
    return f"Bearer {token}"


def part(value: object) -> str:
    """One part of a token: JSON in base64url."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
