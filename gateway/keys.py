"""The issuer's side: a directory with the keys that sign tokens, never needed by a running gateway.

    keys/jwks.json        the public keys, oldest first        copied to every gateway
    keys/revoked.txt      the revoked tokens                   copied to every gateway
    keys/private/KID.pem  the private keys, mode 0600          stays here

The newest key signs. Older public keys stay until they are retired, so that the tokens they signed go on working.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from gateway.files import FileError, describe, locked, read_bounded, write_atomically
from gateway.jwks import PrivateKey, VerificationKey, read_jwks, write_jwks
from gateway.revocations import create_revocations

ALGORITHMS = ("EdDSA", "ES256")

_FIELD = "keys directory"
_SIGNING_FIELD = "signing key"
_PEM_LIMIT_BYTES = 16 << 10


class KeyMisuse(Exception):
    """The directory does not allow what was asked; the text says what to do instead."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key with the name under which gateways know its public half."""

    kid: str
    algorithm: str
    private_key: PrivateKey


class KeyDirectory:
    """Every change is one atomic write under a lock, private key first: at worst an unused private key is left."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.jwks_file = path / "jwks.json"
        self.revocations_file = path / "revoked.txt"
        self._private = path / "private"

    def init(self, algorithm: str, now: float) -> str | None:
        """Makes the directory, its first key and an empty revocation list. Returns the new `kid`.

        None when keys are there already, which are then left as they are. Raises FileError.
        """
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            self._private.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise FileError(_FIELD, self._path, describe(error)) from error
        with locked(_FIELD, self._path):
            create_revocations(self.revocations_file)
            if self.jwks_file.exists():
                return None
            return self._add({}, algorithm, now)

    def rotate(self, algorithm: str | None, now: float) -> str:
        """Adds a key that signs from now on; the others go on verifying. Returns the new `kid`.

        `algorithm` None keeps that of the present signing key. Raises FileError.
        """
        with locked(_FIELD, self._path):
            keys = self.public_keys()
            return self._add(keys, algorithm or keys[newest(keys)].algorithm, now)

    def retire(self, kid: str) -> None:
        """Forgets a key: every token it signed is refused from now on. Raises KeyMisuse, FileError."""
        with locked(_FIELD, self._path):
            keys = dict(self.public_keys())
            if kid not in keys:
                raise KeyMisuse(f"no key {kid} in {self.jwks_file}; the keys are {', '.join(keys)}")
            if kid == newest(keys):
                raise KeyMisuse(f"{kid} signs the new tokens: run `gateway keys rotate` first, then retire it")
            del keys[kid]
            write_jwks(self.jwks_file, keys.values())
            self._private_file(kid).unlink(missing_ok=True)

    def public_keys(self) -> Mapping[str, VerificationKey]:
        """The keys that verify, oldest first. Raises FileError."""
        return read_jwks(self.jwks_file)

    def has_private(self, kid: str) -> bool:
        """Whether the key's private half is in this directory."""
        return self._private_file(kid).exists()

    def signing_key(self) -> SigningKey:
        """The newest key with its private half. Raises FileError, also when others may read the file."""
        keys = self.public_keys()
        kid = newest(keys)
        public = keys[kid]
        path = self._private_file(kid)
        pem = read_bounded(_SIGNING_FIELD, path, _PEM_LIMIT_BYTES)
        if path.stat().st_mode & 0o077:
            raise FileError(_SIGNING_FIELD, path, f"others may read it; run: chmod 600 {path}")
        try:
            private_key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError) as error:
            raise FileError(_SIGNING_FIELD, path, "not an unencrypted PEM private key") from error
        if not isinstance(private_key, PrivateKey) or private_key.public_key() != public.public_key:
            raise FileError(_SIGNING_FIELD, path, f"is not the private half of {kid} in {self.jwks_file}")
        return SigningKey(kid, public.algorithm, private_key)

    def _add(self, keys: Mapping[str, VerificationKey], algorithm: str, now: float) -> str:
        private_key = _generate(algorithm)
        kid = _key_id(private_key, now)
        pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_atomically(_SIGNING_FIELD, self._private_file(kid), pem, 0o600)
        write_jwks(self.jwks_file, [*keys.values(), VerificationKey(kid, algorithm, private_key.public_key())])
        return kid

    def _private_file(self, kid: str) -> Path:
        return self._private / f"{kid}.pem"


def newest(keys: Mapping[str, VerificationKey]) -> str:
    """The `kid` that signs: the last one, since keys are added at the end."""
    return list(keys)[-1]


def _generate(algorithm: str) -> PrivateKey:
    assert algorithm in ALGORITHMS, algorithm
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def _key_id(private_key: PrivateKey, now: float) -> str:
    """The day for the person who reads the list, eight digits of the public key's SHA-256 so that no two are alike."""
    encoded = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"{time.strftime('%Y%m%d', time.gmtime(now))}-{hashlib.sha256(encoded).hexdigest()[:8]}"
