"""Who is asking, and what they may do: a bearer token in, a Principal or a refusal out. The only importer of jwt.

The key that a token names by `kid` decides the algorithm, so `none` and a signature made with the public key as if it
were a shared secret cannot verify. What is remembered is only that a token verified: expiry and revocation are looked
at on every use. No message contains the token, nor any text of it that has not been checked first.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import jwt
import structlog

from gateway.errors import Forbidden, Unauthenticated
from gateway.files import FileError
from gateway.jwks import KEY_ID, PrivateKey, VerificationKey, read_jwks
from gateway.revocations import TOKEN_ID, read_revocations
from gateway.watch import FileStamps

DEFAULT_ISSUER = "edge-gateway"
DEFAULT_AUDIENCE = "edge-gateway"
LEEWAY_S = 10.0
"""How far the clocks of issuer and gateway may be apart; NTP keeps them within a second."""
MAX_TOKEN_BYTES = 8192
"""Longer is refused unread. A token of ours has some 400 bytes; aiohttp bounds a header at 8190."""
MAX_REMEMBERED = 4096
"""Tokens in use at the same time; at some 1 kB each, 4 MB. One more forgets the one unused for longest."""

SUBJECT = re.compile(r"[!-~]{1,128}")
SCOPE = re.compile(r"admin|(worker|infer):[!-~]{1,128}")
"""One scope: `admin`, `worker:NAME`, `worker:*`, `infer:MODEL` or `infer:*`."""

_REQUIRED = ["iss", "aud", "exp", "nbf", "sub", "jti"]
_LATEST_S = 2.0**53
_JWKS_FIELD = "auth.jwks"
_REVOCATIONS_FIELD = "auth.revocations"
_HOW = "send the header Authorization: Bearer TOKEN"


class Reason(StrEnum):
    """Why a token is refused, for counters and logs."""

    MISSING = "missing"
    MALFORMED = "malformed"
    OVERSIZED = "oversized"
    UNKNOWN_KEY = "unknown_key"
    ALGORITHM = "algorithm"
    SIGNATURE = "signature"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    CLAIMS = "claims"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    REVOKED = "revoked"


class TokenRefused(Unauthenticated):
    """A token that does not let anyone in. `reason` is for counting; the text tells the client what to do."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Principal:
    """What a verified token says of its bearer."""

    subject: str
    scopes: frozenset[str]
    token_id: str
    """The token's `jti`."""
    key_id: str
    """The `kid` of the key that signed it."""
    not_before: float
    expires_at: float
    """Unix seconds, like `not_before`."""

    @property
    def is_admin(self) -> bool:
        """Whether the operator's view of the workers is open to this token."""
        return "admin" in self.scopes

    def may_work_as(self, worker: str) -> bool:
        """Whether a worker may join under this name."""
        return not self.scopes.isdisjoint((f"worker:{worker}", "worker:*"))

    def may_infer(self, model: str) -> bool:
        """Whether this model may be used."""
        return not self.scopes.isdisjoint((f"infer:{model}", "infer:*"))

    def require_worker(self, worker: str) -> None:
        """Raises Forbidden unless `may_work_as(worker)`."""
        if not self.may_work_as(worker):
            name = ascii(worker)[1:-1][:128]
            raise Forbidden(f"this token may not join as worker {name}: ask for one with the scope worker:{name}")

    def require_infer(self, model: str) -> None:
        """Raises Forbidden unless `may_infer(model)`."""
        if not self.may_infer(model):
            name = ascii(model)[1:-1][:128]
            raise Forbidden(f"this token may not use model {name}: ask for one with the scope infer:{name}")


class Authenticator:
    """Verifies tokens against a file of public keys and a file of revocations, which may change at any time."""

    def __init__(
        self,
        jwks_file: Path,
        revocations_file: Path | None = None,
        *,
        issuer: str = DEFAULT_ISSUER,
        audience: str = DEFAULT_AUDIENCE,
        leeway_s: float = LEEWAY_S,
        max_token_bytes: int = MAX_TOKEN_BYTES,
        max_remembered: int = MAX_REMEMBERED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` gives Unix seconds; `revocations_file` None means that nothing is revoked. Raises FileError."""
        self._jwks_file = jwks_file
        self._revocations_file = revocations_file
        self._issuer = issuer
        self._audience = audience
        self._leeway_s = leeway_s
        self._max_token_bytes = max_token_bytes
        self._max_remembered = max_remembered
        self._clock = clock
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger()
        self._subscribers: list[Callable[[], None]] = []
        self._remembered: OrderedDict[bytes, Principal] = OrderedDict()
        self._stamps = FileStamps([jwks_file] if revocations_file is None else [jwks_file, revocations_file])
        self._keys = read_jwks(jwks_file, _JWKS_FIELD)
        self._revoked = self._read_revocations()

    def authenticate(self, authorization_header: str | None) -> Principal:
        """The bearer behind an Authorization header. Raises TokenRefused (an Unauthenticated)."""
        if not authorization_header:
            raise TokenRefused(Reason.MISSING, f"a token is needed: {_HOW}")
        scheme, _, token = authorization_header.partition(" ")
        if scheme.lower() != "bearer":
            raise TokenRefused(Reason.MISSING, f"the Authorization header carries no bearer token: {_HOW}")
        return self.verify(token.strip(" "))

    def verify(self, token: str) -> Principal:
        """The bearer of a bare token, as a worker sends it to renew. Raises TokenRefused."""
        if len(token) > self._max_token_bytes:
            raise TokenRefused(Reason.OVERSIZED, f"the token is longer than {self._max_token_bytes} bytes")
        if not token.isascii():
            raise TokenRefused(Reason.MALFORMED, f"the token is not a JWT; {_HOW}")
        fingerprint = hashlib.sha256(token.encode("ascii")).digest()
        principal = self._remembered.get(fingerprint)
        if principal is not None:
            self.recheck(principal)
            self._remembered.move_to_end(fingerprint)
            return principal
        principal = self._verify_signed(token)
        self.recheck(principal)
        self._remember(fingerprint, principal)
        return principal

    def recheck(self, principal: Principal) -> None:
        """Raises the TokenRefused that the principal's token would meet now; for tunnels that outlive a change."""
        now = self._clock()
        if principal.expires_at <= now - self._leeway_s:
            raise TokenRefused(Reason.EXPIRED, f"the token expired at {utc(principal.expires_at)}: get a new one")
        if principal.not_before > now + self._leeway_s:
            at = utc(principal.not_before)
            raise TokenRefused(Reason.NOT_YET_VALID, f"the token is not valid before {at}: is a clock wrong?")
        if principal.token_id in self._revoked:
            raise TokenRefused(Reason.REVOKED, "the token was revoked: get a new one")
        if principal.key_id not in self._keys:
            raise _unknown_key(principal.key_id)

    def subscribe(self, on_change: Callable[[], None]) -> Callable[[], None]:
        """Calls `on_change` after every change of keys or revocations; the caller then rechecks the principals it
        holds. Returns what ends the subscription."""
        self._subscribers.append(on_change)
        return lambda: self._subscribers.remove(on_change)

    def reload_if_changed(self) -> bool:
        """Reads both files again if one changed; True if the new ones are in use. A broken file is logged and what
        was read before stays in force, for both: half a change could let a token in that neither state would."""
        if not self._stamps.have_changed():
            return False
        try:
            keys, revoked = read_jwks(self._jwks_file, _JWKS_FIELD), self._read_revocations()
        except FileError as error:
            self._log.error("credentials_not_reloaded", problem=str(error))
            return False
        self._keys, self._revoked = keys, revoked
        self._remembered.clear()  # a kid may now stand for another key, and `recheck` sees the kid alone
        self._log.info("credentials_reloaded", keys=list(keys), revoked_count=len(revoked))
        for on_change in tuple(self._subscribers):
            on_change()
        return True

    def _read_revocations(self) -> frozenset[str]:
        if self._revocations_file is None:
            return frozenset()
        return read_revocations(self._revocations_file, _REVOCATIONS_FIELD)

    def _remember(self, fingerprint: bytes, principal: Principal) -> None:
        """By the token's hash: a dump of this memory holds no token that works."""
        self._remembered[fingerprint] = principal
        if len(self._remembered) > self._max_remembered:
            self._remembered.popitem(last=False)

    def _verify_signed(self, token: str) -> Principal:
        """Signature, issuer and audience by the library, with everything that decides fixed by us beforehand."""
        try:
            key = self._key_for(jwt.get_unverified_header(token))
            claims = jwt.decode(
                token,
                key=key.public_key,
                algorithms=[key.algorithm],
                audience=self._audience,
                issuer=self._issuer,
                # Times are judged in `recheck` with the injected clock; PyJWT would read the system's.
                options={"require": _REQUIRED, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.PyJWTError as error:
            raise self._translated(error) from error
        return _principal(key.kid, claims)

    def _key_for(self, header: Mapping[str, object]) -> VerificationKey:
        kid = header.get("kid")
        if not isinstance(kid, str) or not KEY_ID.fullmatch(kid):
            raise TokenRefused(Reason.UNKNOWN_KEY, "the token names no key (kid): get one from this gateway's issuer")
        key = self._keys.get(kid)
        if key is None:
            raise _unknown_key(kid)
        return key

    def _translated(self, error: jwt.PyJWTError) -> TokenRefused:
        match error:
            case jwt.InvalidSignatureError():
                reason, detail = Reason.SIGNATURE, "the token's signature is wrong: it was altered or not issued here"
            case jwt.InvalidAlgorithmError():
                reason, detail = Reason.ALGORITHM, "the token's algorithm is not that of the key it names"
            case jwt.MissingRequiredClaimError():
                reason, detail = Reason.CLAIMS, f"the token has no {error.claim}; it needs {', '.join(_REQUIRED)}"
            case jwt.InvalidIssuerError():
                reason, detail = Reason.ISSUER, f"the token's issuer (iss) is not {self._issuer}"
            case jwt.InvalidAudienceError():
                reason, detail = Reason.AUDIENCE, f"the token is for another audience (aud) than {self._audience}"
            case _:
                reason, detail = Reason.MALFORMED, f"the token is not a JWT; {_HOW}"
        return TokenRefused(reason, detail)


def sign(claims: Mapping[str, object], private_key: PrivateKey, algorithm: str, kid: str) -> str:
    """A token with these claims. For the issuer: a running gateway has no private key to call this with."""
    return jwt.encode(dict(claims), private_key, algorithm=algorithm, headers={"kid": kid})


def read_unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims (any JSON values) as a token states them, for showing to a person; proves nothing. Raises
    ValueError."""
    try:
        parts = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, UnicodeEncodeError) as error:
        raise ValueError("not a JWT") from error
    return parts["header"], parts["payload"]


def _principal(kid: str, claims: Mapping[str, object]) -> Principal:
    """Claims that are signed but may still be nonsense. Raises TokenRefused."""
    subject, token_id, scope = claims["sub"], claims["jti"], claims.get("scope", "")
    if not isinstance(subject, str) or not SUBJECT.fullmatch(subject):
        raise TokenRefused(Reason.CLAIMS, "the token's sub is not 1 to 128 printable ASCII characters without spaces")
    if not isinstance(token_id, str) or not TOKEN_ID.fullmatch(token_id):
        raise TokenRefused(Reason.CLAIMS, "the token's jti could not be written in a revocation list")
    if not isinstance(scope, str):
        raise TokenRefused(Reason.CLAIMS, "the token's scope is not a string of scopes separated by spaces")
    scopes = frozenset(word for word in scope.split(" ") if SCOPE.fullmatch(word))
    not_before, expires_at = (_unix_seconds(name, claims[name]) for name in ("nbf", "exp"))
    return Principal(subject, scopes, token_id, kid, not_before, expires_at)


def _unix_seconds(name: str, value: object) -> float:
    """A NumericDate (RFC 7519 2). NaN fails the comparison; the bound keeps calendar arithmetic from overflowing."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST_S:
        raise TokenRefused(Reason.CLAIMS, f"the token's {name} is not a number of Unix seconds")
    return float(value)


def _unknown_key(kid: str) -> TokenRefused:
    detail = f"the token's key {kid} is not, or no longer, one of this gateway's: get a new token"
    return TokenRefused(Reason.UNKNOWN_KEY, detail)


def utc(unix_s: float) -> str:
    """A time that people can read, for any that `_unix_seconds` lets through."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix_s))
