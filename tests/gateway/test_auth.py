"""gateway/auth.py: every way a token can be wrong, and what a right one allows."""

from __future__ import annotations

import hashlib
import hmac
import math
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth import Authenticator, Principal, Reason, TokenRefused, read_unverified
from gateway.errors import Forbidden, Unauthenticated
from tests.support.credentials import NOW, Clock, Issuer, bearer, part

ALGORITHMS = ("EdDSA", "ES256")


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "keys")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gateway(issuer: Issuer, clock: Clock) -> Authenticator:
    return issuer.authenticator(clock)


def refusal(gateway: Authenticator, header: str | None) -> TokenRefused:
    with pytest.raises(TokenRefused) as caught:
        gateway.authenticate(header)
    return caught.value


def reason(gateway: Authenticator, token: str) -> Reason:
    """Why the token is refused; on the way, that the text does not give it away."""
    refused = refusal(gateway, bearer(token))
    assert not token or token not in refused.detail
    assert not gateway._remembered
    return refused.reason


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_good_token_says_who_its_bearer_is(tmp_path: Path, clock: Clock, algorithm: str) -> None:
    """A token of either algorithm gives a Principal with the claims it was issued with."""
    issuer = Issuer(tmp_path / "keys", algorithm)
    principal = issuer.authenticator(clock).authenticate(bearer(issuer.token(jti="j1")))
    assert principal == Principal(
        subject="lab-1",
        scopes=frozenset({"worker:lab-1", "infer:digits"}),
        token_id="j1",
        key_id=issuer.key.kid,
        not_before=NOW,
        expires_at=NOW + 3600,
    )


@pytest.mark.parametrize("header", ["bearer {}", "BEARER {}", "Bearer  {} "])
def test_the_scheme_is_read_as_http_says(gateway: Authenticator, issuer: Issuer, header: str) -> None:
    """The scheme's case and the number of spaces do not matter (RFC 9110 11.1, 11.4)."""
    assert gateway.authenticate(header.format(issuer.token())).subject == "lab-1"


@pytest.mark.parametrize("header", [None, "", "Basic bGFiOmxhYg==", "Bearer-ish x"])
def test_no_token_is_told_how_to_send_one(gateway: Authenticator, header: str | None) -> None:
    """A request without a bearer token is told which header to send."""
    refused = refusal(gateway, header)
    assert refused.reason is Reason.MISSING
    assert "Authorization: Bearer TOKEN" in refused.detail


def test_a_refusal_is_what_http_knows_as_unauthenticated(gateway: Authenticator) -> None:
    """Every refusal is an Unauthenticated, so that one row of the status table covers it."""
    refused = refusal(gateway, None)
    assert isinstance(refused, Unauthenticated)
    assert refused.code == "unauthenticated"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_altered_token_is_refused(tmp_path: Path, clock: Clock, algorithm: str) -> None:
    """Claims that were changed after signing do not verify."""
    issuer = Issuer(tmp_path / "keys", algorithm)
    header, _, signature = issuer.token().split(".")
    forged = f"{header}.{part(issuer.claims(scope='admin'))}.{signature}"
    assert reason(issuer.authenticator(clock), forged) is Reason.SIGNATURE


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_of_another_issuer_is_refused(tmp_path: Path, clock: Clock, algorithm: str) -> None:
    """Naming the gateway's kid does not help a token that another key signed."""
    ours, theirs = Issuer(tmp_path / "ours", algorithm), Issuer(tmp_path / "theirs", algorithm)
    assert reason(ours.authenticator(clock), theirs.sign(theirs.claims(), kid=ours.key.kid)) is Reason.SIGNATURE


@pytest.mark.parametrize("name", ["none", "None", "NONE", ""])
def test_an_unsigned_token_is_refused(gateway: Authenticator, issuer: Issuer, name: str) -> None:
    """`alg: none`, however written, does not switch verification off, with an empty signature or a real one."""
    claims = part(issuer.claims())
    header = part({"alg": name, "typ": "JWT", "kid": issuer.key.kid})
    signature = issuer.token().rpartition(".")[2]
    assert reason(gateway, f"{header}.{claims}.") is Reason.ALGORITHM
    assert reason(gateway, f"{header}.{claims}.{signature}") is Reason.ALGORITHM


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("form", ["pem", "raw"])
def test_the_public_key_is_no_shared_secret(tmp_path: Path, clock: Clock, algorithm: str, form: str) -> None:
    """HS256 made with the public key, which everyone may know, is refused: the key decides the algorithm."""
    issuer = Issuer(tmp_path / "keys", algorithm)
    public = issuer.key.private_key.public_key()
    if form == "pem":
        secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    elif algorithm == "EdDSA":
        secret = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    else:
        secret = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    signed = f"{part({'alg': 'HS256', 'kid': issuer.key.kid})}.{part(issuer.claims())}"
    forged = f"{signed}.{part(hmac.digest(secret, signed.encode(), hashlib.sha256))}"
    assert reason(issuer.authenticator(clock), forged) is Reason.ALGORITHM


def test_a_key_is_used_with_its_own_algorithm_only(tmp_path: Path, clock: Clock) -> None:
    """A real ES256 signature that names the EdDSA key of the same gateway is refused."""
    issuer = Issuer(tmp_path / "keys", "EdDSA")
    first = issuer.key.kid
    issuer.directory.rotate("ES256", NOW)
    assert reason(issuer.authenticator(clock), issuer.sign(issuer.claims(), kid=first)) is Reason.ALGORITHM


@pytest.mark.parametrize("kid", ["20000101-00000000", "../../etc/passwd", "", "\ud800", "x" * 500, 7, None, ["a"]])
def test_an_unknown_key_is_refused(gateway: Authenticator, issuer: Issuer, kid: object) -> None:
    """A kid that is not in the key set, or no kid at all, is refused, and only a plain one is repeated in the text."""
    token = f"{part({'alg': 'EdDSA', 'kid': kid})}.{part(issuer.claims())}.{part(bytes(64))}"
    refused = refusal(gateway, bearer(token))
    assert refused.reason in (Reason.UNKNOWN_KEY, Reason.MALFORMED)
    assert refused.detail.isascii()
    assert ("20000101-00000000" in refused.detail) == (kid == "20000101-00000000")


def test_a_key_inside_the_token_is_not_believed(gateway: Authenticator, tmp_path: Path, issuer: Issuer) -> None:
    """`jwk` and `jku` in the header, with which a token would bring its own key, change nothing."""
    other = Issuer(tmp_path / "other").key
    header = {"alg": "EdDSA", "kid": issuer.key.kid, "jku": "https://example.com/jwks.json", "jwk": {"kty": "OKP"}}
    signed = f"{part(header)}.{part(issuer.claims())}"
    forged = f"{signed}.{part(other.private_key.sign(signed.encode()))}"  # type: ignore[call-arg]
    assert reason(gateway, forged) is Reason.SIGNATURE


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"iss": "somebody"}, Reason.ISSUER),
        ({"iss": ["edge-gateway"]}, Reason.ISSUER),
        ({"aud": "another-gateway"}, Reason.AUDIENCE),
        ({"aud": ["another-gateway", "a-third"]}, Reason.AUDIENCE),
        ({"aud": 7}, Reason.AUDIENCE),
        ({"exp": "soon"}, Reason.CLAIMS),
        ({"exp": str(NOW + 3600)}, Reason.CLAIMS),
        ({"exp": True}, Reason.CLAIMS),
        ({"exp": math.nan}, Reason.CLAIMS),
        ({"exp": math.inf}, Reason.CLAIMS),
        ({"exp": 10**300}, Reason.CLAIMS),
        ({"exp": {}}, Reason.CLAIMS),
        ({"nbf": -1}, Reason.CLAIMS),
        ({"nbf": []}, Reason.CLAIMS),
        ({"scope": ["admin"]}, Reason.CLAIMS),
        ({"sub": "two words"}, Reason.CLAIMS),
        ({"sub": "x" * 129}, Reason.CLAIMS),
        ({"sub": "\ud800"}, Reason.CLAIMS),
        ({"jti": "two words"}, Reason.CLAIMS),
        ({"jti": "line\nnever"}, Reason.CLAIMS),
        ({"jti": "#1"}, Reason.CLAIMS),
    ],
)
def test_a_claim_that_is_wrong_is_named(
    gateway: Authenticator, issuer: Issuer, changes: dict[str, object], expected: Reason
) -> None:
    """A signed token with a wrong issuer or audience, or nonsense in a claim, is refused for that."""
    assert reason(gateway, issuer.token(**changes)) is expected


@pytest.mark.parametrize("claim", ["iss", "aud", "exp", "nbf", "sub", "jti"])
def test_a_claim_that_is_missing_is_named(gateway: Authenticator, issuer: Issuer, claim: str) -> None:
    """Each required claim is required: a token without one is refused, and told which."""
    token = issuer.token(**{claim: None})
    assert reason(gateway, token) is Reason.CLAIMS
    assert f" {claim};" in refusal(gateway, bearer(token)).detail


def test_one_audience_of_several_is_enough(gateway: Authenticator, issuer: Issuer) -> None:
    """A token for several gateways is good at each of them."""
    assert gateway.verify(issuer.token(aud=["other", "edge-gateway"])).subject == "lab-1"


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (NOW - 6, Reason.NOT_YET_VALID),
        (NOW - 5, None),
        (NOW, None),
        (NOW + 3604, None),
        (NOW + 3605, Reason.EXPIRED),
    ],
)
def test_a_token_is_good_from_nbf_to_exp(
    gateway: Authenticator, issuer: Issuer, clock: Clock, at: float, expected: Reason | None
) -> None:
    """Outside nbf and exp, with the leeway at both ends, a token is refused; exp itself is outside (RFC 7519 4.1.4)."""
    clock.now = at
    token = issuer.token()
    if expected is None:
        gateway.verify(token)
    else:
        assert reason(gateway, token) is expected


@pytest.mark.parametrize("exp", [0, 2**53])
def test_a_time_at_the_edge_can_be_shown(gateway: Authenticator, issuer: Issuer, clock: Clock, exp: int) -> None:
    """The message for an expiry in 1970 or 280 million years from now is written without an overflow."""
    clock.now = max(NOW, exp + 10)
    assert "expired at " in refusal(gateway, bearer(issuer.token(exp=exp))).detail


def test_an_expired_token_is_told_when(gateway: Authenticator, issuer: Issuer, clock: Clock) -> None:
    """The time of expiry is in the text, in UTC."""
    clock.now = NOW + 7200
    assert "2027-01-15 09:00:00 UTC" in refusal(gateway, bearer(issuer.token())).detail


def test_a_verified_token_still_expires(gateway: Authenticator, issuer: Issuer, clock: Clock) -> None:
    """That a token is remembered does not make it live longer."""
    token = issuer.token()
    gateway.verify(token)
    clock.now = NOW + 3605
    assert refusal(gateway, bearer(token)).reason is Reason.EXPIRED


def test_an_oversized_token_is_refused_unread(issuer: Issuer, clock: Clock) -> None:
    """A token over the bound is refused for its length, also one that would verify."""
    token = issuer.token()
    assert reason(issuer.authenticator(clock, max_token_bytes=len(token) - 1), token) is Reason.OVERSIZED
    assert issuer.authenticator(clock, max_token_bytes=len(token)).verify(token)


@pytest.mark.parametrize(
    "token",
    [
        *("", "x", ".", "..", "...", "a.b.c", "{}", "\udcff.a.b", "\u00e9.\u00e9.\u00e9"),
        f"{part([])}.{part({})}.",
        f"{part(b'{')}.a.b",
        f"{part(b'[' * 5000)}.a.b",
        f"{part({'alg': 'EdDSA', 'b64': False, 'crit': ['b64']})}..AAAA",
    ],
)
def test_garbage_is_refused(gateway: Authenticator, token: str) -> None:
    """What is not a token is refused as such, without any other exception."""
    assert reason(gateway, token) in (Reason.MALFORMED, Reason.UNKNOWN_KEY)


@given(data=st.data())
def test_a_mutated_token_never_gets_in(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """However a good token is cut, spliced or overwritten, it is refused, never anything else."""
    _, gateway, token = mutation_bench(tmp_path_factory)
    start = data.draw(st.integers(0, len(token) - 1))
    end = data.draw(st.integers(start, len(token)))
    mutated = token[:start] + data.draw(st.text(max_size=12)) + token[end:]
    if mutated.strip(" ") == token:
        assert gateway.verify(token).subject == "lab-1"
        return
    with pytest.raises(TokenRefused):
        gateway.authenticate(bearer(mutated))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(changes=st.dictionaries(st.sampled_from(["iss", "aud", "sub", "scope", "jti", "nbf", "exp", "iat"]), JSON))
def test_signed_nonsense_is_a_principal_or_a_refusal(
    changes: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any JSON in any claim of a token that verifies gives a Principal of bounded, plain fields, or a TokenRefused."""
    issuer, gateway, _ = mutation_bench(tmp_path_factory)
    token = issuer.sign({**issuer.claims(), **changes})
    try:
        principal = gateway.verify(token)
    except TokenRefused:
        return
    assert principal.subject.isascii()
    assert len(principal.token_id) <= 128
    assert math.isfinite(principal.expires_at)
    assert not principal.is_admin


_bench: list[tuple[Issuer, Authenticator, str]] = []


def mutation_bench(factory: pytest.TempPathFactory) -> tuple[Issuer, Authenticator, str]:
    """One issuer for all examples: making keys for each would be most of the time."""
    if not _bench:
        issuer = Issuer(factory.mktemp("mutation") / "keys")
        _bench.append((issuer, issuer.authenticator(Clock()), issuer.token()))
    return _bench[0]


def principal(*scopes: str) -> Principal:
    return Principal("s", frozenset(scopes), "j", "k", 0, 1)


@pytest.mark.parametrize(
    ("scope", "worker", "model", "admin"),
    [
        ("worker:lab-1", True, False, False),
        ("worker:*", True, False, False),
        ("infer:digits", False, True, False),
        ("infer:*", False, True, False),
        ("admin", False, False, True),
        ("worker:lab-2", False, False, False),
        ("worker:", False, False, False),
        ("infer:digit", False, False, False),
    ],
)
def test_a_scope_allows_one_thing(scope: str, worker: bool, model: bool, admin: bool) -> None:
    """A scope opens what it names and nothing else; admin is no wildcard."""
    bearer_of = principal(scope)
    assert bearer_of.may_work_as("lab-1") == worker
    assert bearer_of.may_infer("digits") == model
    assert bearer_of.is_admin == admin


def test_what_a_scope_does_not_allow_is_forbidden() -> None:
    """Each require_ names the scope to ask for, and passes with it."""
    nobody = principal()
    with pytest.raises(Forbidden, match="scope worker:lab-1"):
        nobody.require_worker("lab-1")
    with pytest.raises(Forbidden, match="scope infer:digits"):
        nobody.require_infer("digits")
    everyone = principal("worker:*", "infer:*")
    everyone.require_worker("lab-1")
    everyone.require_infer("digits")


def test_a_strange_name_is_shown_harmlessly() -> None:
    """A model name from a request comes back bounded and in plain ASCII: no line breaks for a log, no surrogates."""
    with pytest.raises(Forbidden) as caught:
        principal().require_infer("a\nb\udcff" + "x" * 5000)
    assert "a\\nb\\udcff" in caught.value.detail
    assert len(caught.value.detail) < 500


def test_scopes_that_mean_nothing_here_are_left_out(gateway: Authenticator, issuer: Issuer) -> None:
    """Another system's scopes, empty names and odd spaces do no harm and open nothing."""
    principal = gateway.verify(issuer.token(scope="openid  infer: worker:a\tb infer:digits Admin"))
    assert principal.scopes == {"infer:digits"}


def test_a_token_without_scope_may_do_nothing(gateway: Authenticator, issuer: Issuer) -> None:
    """No scope claim is no permission."""
    assert gateway.verify(issuer.token(scope=None)).scopes == frozenset()


def test_what_is_remembered_is_bounded(issuer: Issuer, clock: Clock) -> None:
    """However many tokens come, at most `max_remembered` are kept, and the one unused for longest goes first."""
    gateway = issuer.authenticator(clock, max_remembered=2)
    first, second, third = (issuer.token() for _ in range(3))
    first_time = gateway.verify(first)
    second_time = gateway.verify(second)
    assert gateway.verify(first) is first_time
    gateway.verify(third)
    assert len(gateway._remembered) == 2
    assert gateway.verify(first) is first_time
    assert gateway.verify(second) is not second_time


def test_refused_tokens_are_not_remembered(gateway: Authenticator, issuer: Issuer) -> None:
    """A flood of bad tokens costs no memory."""
    for n in range(50):
        refusal(gateway, bearer(f"{issuer.token()}{n}"))
    assert not gateway._remembered


def test_reading_without_verifying(issuer: Issuer) -> None:
    """read_unverified shows header and claims of any JWT, and raises ValueError for anything else."""
    header, claims = read_unverified(issuer.token(sub="x"))
    assert header["kid"] == issuer.key.kid
    assert claims["sub"] == "x"
    for garbage in ("", "a.b.c", "\udcff", "lab-1"):
        with pytest.raises(ValueError, match="not a JWT"):
            read_unverified(garbage)
