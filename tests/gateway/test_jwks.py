"""gateway/jwks.py: which key sets a gateway takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from gateway.files import FileError
from gateway.jwks import LIMIT_BYTES, read_jwks, write_jwks
from tests.support.credentials import NOW, Issuer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A key set with one Ed25519 and one P-256 key."""
    issuer = Issuer(tmp_path / "keys", "EdDSA")
    issuer.directory.rotate("ES256", NOW)
    return issuer.directory.jwks_file


def rewrite(path: Path, change: Any) -> None:
    document = json.loads(path.read_text())
    change(document["keys"])
    path.write_text(json.dumps(document))


def test_a_key_set_is_read_as_it_was_written(path: Path, tmp_path: Path) -> None:
    """Both kinds of key come back with their kid, algorithm and value, in order."""
    keys = read_jwks(path)
    copy = tmp_path / "copy.json"
    write_jwks(copy, keys.values())
    assert copy.read_text() == path.read_text()
    assert [key.algorithm for key in keys.values()] == ["EdDSA", "ES256"]
    assert list(read_jwks(copy).items()) == list(keys.items())


def test_other_software_reads_the_same_keys(path: Path) -> None:
    """The file is a JSON Web Key Set as RFC 7517 means it: another reader finds the same keys."""
    theirs = jwt.PyJWKSet.from_json(path.read_text())
    assert {key.key_id: key.key for key in theirs} == {kid: key.public_key for kid, key in read_jwks(path).items()}


def test_only_public_values_are_written(path: Path) -> None:
    """The file has no member that could hold a secret."""
    members = {name for key in json.loads(path.read_text())["keys"] for name in key}
    assert members == {"kid", "alg", "use", "kty", "crv", "x", "y"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda keys: keys.clear(), "at least one key"),
        (lambda keys: keys.append("text"), "key 3: not a JSON object"),
        (lambda keys: keys.append(keys[0]), "key 3: the kid .* is there twice"),
        (lambda keys: keys[1].pop("kid"), "key 2: needs a kid"),
        (lambda keys: keys[1].update(kid="../x"), "key 2: needs a kid"),
        (lambda keys: keys[0].update(kid=7), "key 1: needs a kid"),
        (lambda keys: keys[0].update(d="AAAA"), "key 1: .* private"),
        (
            lambda keys: keys.append({"kid": "s", "kty": "oct", "k": "c2VjcmV0"}),
            "key 3: s holds a private",
        ),
        (lambda keys: keys.append({"kid": "r", "kty": "RSA", "n": "AQAB", "e": "AQAB"}), "key 3: r is neither"),
        (lambda keys: keys[0].update(crv="Ed448"), "key 1: .* neither"),
        (lambda keys: keys[0].update(alg="HS256"), "key 1: .* names another alg"),
        (lambda keys: keys[0].update(alg="none"), "key 1: .* names another alg"),
        (lambda keys: keys[1].update(use="enc"), "key 2: .* not for signatures"),
        (lambda keys: keys[0].update(x="!!!"), "key 1: x is not base64url"),
        (lambda keys: keys[0].update(x="\u00e9"), "key 1: x is not base64url"),
        (lambda keys: keys[0].pop("x"), "key 1: x is not"),
        (lambda keys: keys[0].update(x="AAA"), "key 1: x is not 32 bytes"),
        (lambda keys: keys[1].update(y=keys[1]["x"]), "key 2: "),
    ],
)
def test_a_key_that_cannot_be_used_is_named(path: Path, change: Any, problem: str) -> None:
    """Every fault is an error with the setting, the file, the key's number and what is wrong with it."""
    rewrite(path, change)
    with pytest.raises(FileError, match=f"^key set: {path}: .*{problem}"):
        read_jwks(path)


@pytest.mark.parametrize("text", ["", "[]", '"x"', '{"keys": {}}', "\ufeff{", "[" * 100_000, "9" * 5000, "\x00"])
def test_what_is_no_key_set_is_refused(tmp_path: Path, text: str) -> None:
    """Any other content is one clear error, never another exception."""
    path = tmp_path / "jwks.json"
    path.write_text(text)
    with pytest.raises(FileError):
        read_jwks(path)


def test_a_key_set_has_a_bound(path: Path) -> None:
    """A file over the bound is not parsed."""
    path.write_text(path.read_text() + " " * LIMIT_BYTES)
    with pytest.raises(FileError, match="longer than"):
        read_jwks(path)
