"""The public keys that tokens verify with: a JSON Web Key Set file (RFC 7517), each key under its `kid`.

A key decides its algorithm, here and once, so that a token has no say in it. Only Ed25519 (EdDSA) and P-256 (ES256)
are taken; a symmetric key or one with its private part is refused, because the gateway must not be able to sign.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.files import FileError, read_bounded, write_atomically

FIELD = "key set"
LIMIT_BYTES = 256 << 10
"""Over a thousand keys; a gateway has two or three."""
KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What a `kid` may look like: it becomes a file name and appears in messages."""

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey

_COORDINATE_BYTES = 32


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One public key and the only algorithm it may be used with."""

    kid: str
    algorithm: str
    """`EdDSA` or `ES256`."""
    public_key: PublicKey


def read_jwks(path: Path, field: str = FIELD) -> Mapping[str, VerificationKey]:
    """The keys by `kid`, in the file's order. Raises FileError, which names `field` and the key that is wrong."""
    if not path.exists():
        raise FileError(field, path, "no such file or directory; `gateway keys init` makes keys, and this file")
    try:
        document = json.loads(read_bounded(field, path, LIMIT_BYTES))
    except (ValueError, RecursionError) as error:
        raise FileError(field, path, f"not JSON: {error}") from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise FileError(field, path, 'expected {"keys": [...]} with at least one key')
    keys: dict[str, VerificationKey] = {}
    for number, entry in enumerate(entries, start=1):
        try:
            key = _parse(entry)
            if key.kid in keys:
                raise ValueError(f"the kid {key.kid} is there twice")
        except ValueError as error:
            raise FileError(field, path, f"key {number}: {error}") from error
        keys[key.kid] = key
    return keys


def write_jwks(path: Path, keys: Iterable[VerificationKey]) -> None:
    """Writes the set in one step, readable by everyone: it holds nothing secret."""
    document = {"keys": [_as_jwk(key) for key in keys]}
    write_atomically(FIELD, path, (json.dumps(document, indent=2) + "\n").encode("ascii"), 0o644)


def _parse(entry: object) -> VerificationKey:
    if not isinstance(entry, dict):
        raise ValueError("not a JSON object")
    kid = entry.get("kid")
    if not isinstance(kid, str) or not KEY_ID.fullmatch(kid):
        raise ValueError("needs a kid of 1 to 64 letters, digits, '.', '_' or '-'")
    if "d" in entry or "k" in entry:
        raise ValueError(f"{kid} holds a private or symmetric key: the gateway keeps public keys only")
    algorithm, public_key = _public_key(kid, entry)
    if entry.get("alg", algorithm) != algorithm:
        raise ValueError(f"{kid} is a key for {algorithm} but names another alg")
    if entry.get("use", "sig") != "sig":
        raise ValueError(f"{kid} is not for signatures (its use is not sig)")
    return VerificationKey(kid, algorithm, public_key)


def _public_key(kid: str, entry: Mapping[str, object]) -> tuple[str, PublicKey]:
    """The algorithm and the key. Raises ValueError; the library's own checks put a P-256 point on the curve."""
    match entry.get("kty"), entry.get("crv"):
        case "OKP", "Ed25519":
            return "EdDSA", ed25519.Ed25519PublicKey.from_public_bytes(_coordinate(entry, "x"))
        case "EC", "P-256":
            x, y = (int.from_bytes(_coordinate(entry, name), "big") for name in ("x", "y"))
            return "ES256", ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    raise ValueError(f"{kid} is neither an Ed25519 (kty OKP) nor a P-256 (kty EC) key")


def _coordinate(entry: Mapping[str, object], name: str) -> bytes:
    text = entry.get(name)
    try:
        data = base64.b64decode(f"{text}=".encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise ValueError(f"{name} is not base64url") from error
    if len(data) != _COORDINATE_BYTES:
        raise ValueError(f"{name} is not {_COORDINATE_BYTES} bytes")
    return data


def _as_jwk(key: VerificationKey) -> dict[str, str]:
    about = {"kid": key.kid, "alg": key.algorithm, "use": "sig"}
    if isinstance(key.public_key, ed25519.Ed25519PublicKey):
        x = key.public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {**about, "kty": "OKP", "crv": "Ed25519", "x": _base64url(x)}
    numbers = key.public_key.public_numbers()
    x, y = (number.to_bytes(_COORDINATE_BYTES, "big") for number in (numbers.x, numbers.y))
    return {**about, "kty": "EC", "crv": "P-256", "x": _base64url(x), "y": _base64url(y)}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
