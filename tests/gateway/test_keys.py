"""gateway/keys.py: the issuer's directory."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from gateway.files import FileError
from gateway.keys import KeyDirectory, KeyMisuse
from gateway.revocations import read_revocations
from tests.support.credentials import NOW

DAY_S = 86_400


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def keys(tmp_path: Path) -> KeyDirectory:
    directory = KeyDirectory(tmp_path / "keys")
    directory.init("EdDSA", NOW)
    return directory


def test_init_makes_everything(tmp_path: Path) -> None:
    """A key pair, an empty revocation list, and private files that nobody else may read, whatever the umask."""
    path = tmp_path / "deep" / "keys"
    old = os.umask(0)
    try:
        kid = KeyDirectory(path).init("ES256", NOW)
    finally:
        os.umask(old)
    assert kid is not None
    assert re.fullmatch(r"20270115-[0-9a-f]{8}", kid)
    assert sorted(str(one.relative_to(path)) for one in path.rglob("*")) == [
        "jwks.json",
        "private",
        f"private/{kid}.pem",
        "revoked.txt",
    ]
    assert mode(path / "private") == 0o700
    assert mode(path / "private" / f"{kid}.pem") == 0o600
    assert read_revocations(path / "revoked.txt") == frozenset()


def test_init_leaves_keys_alone(keys: KeyDirectory) -> None:
    """A second init changes nothing."""
    before = keys.jwks_file.read_text()
    assert keys.init("ES256", NOW) is None
    assert keys.jwks_file.read_text() == before


def test_init_where_it_cannot_is_an_error(tmp_path: Path) -> None:
    """A file in the place of the directory is named."""
    (tmp_path / "keys").write_text("")
    with pytest.raises(FileError, match=r"keys directory: .*/keys: "):
        KeyDirectory(tmp_path / "keys").init("EdDSA", NOW)


def test_the_newest_key_signs(keys: KeyDirectory) -> None:
    """Rotation adds a key that signs from now on, of the same algorithm unless told, and keeps the older ones."""
    first = keys.signing_key()
    second = keys.rotate(None, NOW + DAY_S)
    third = keys.rotate("ES256", NOW + 2 * DAY_S)
    assert list(keys.public_keys()) == [first.kid, second, third]
    assert [key.algorithm for key in keys.public_keys().values()] == ["EdDSA", "EdDSA", "ES256"]
    assert keys.signing_key().kid == third


def test_two_keys_of_one_day_differ(keys: KeyDirectory) -> None:
    """A kid is never used twice."""
    keys.rotate(None, NOW)
    assert len(keys.public_keys()) == 2


def test_a_retired_key_is_gone(keys: KeyDirectory) -> None:
    """Retiring removes the public key and the private one."""
    first = keys.signing_key().kid
    second = keys.rotate(None, NOW)
    keys.retire(first)
    assert list(keys.public_keys()) == [second]
    assert not keys.has_private(first)
    assert keys.has_private(second)


def test_the_signing_key_cannot_be_retired(keys: KeyDirectory) -> None:
    """The key that signs stays until another does, and the error says so; an unknown one is an error too."""
    kid = keys.signing_key().kid
    with pytest.raises(KeyMisuse, match="keys rotate"):
        keys.retire(kid)
    with pytest.raises(KeyMisuse, match=f"the keys are {kid}"):
        keys.retire("nobody")
    assert list(keys.public_keys()) == [kid]


def test_a_private_key_that_others_may_read_is_not_used(keys: KeyDirectory) -> None:
    """As ssh does: the error says how to mend it."""
    (path,) = (keys.jwks_file.parent / "private").iterdir()
    path.chmod(0o640)
    with pytest.raises(FileError, match=f"chmod 600 {path}"):
        keys.signing_key()


def test_a_private_key_must_belong_to_its_public_key(keys: KeyDirectory) -> None:
    """A file that is missing, no key, or the key of another kid is an error, not a token that no gateway takes."""
    first = keys.jwks_file.parent / "private" / f"{keys.signing_key().kid}.pem"
    second = keys.jwks_file.parent / "private" / f"{keys.rotate(None, NOW)}.pem"
    second.write_bytes(first.read_bytes())
    with pytest.raises(FileError, match="not the private half"):
        keys.signing_key()
    second.write_text("no key")
    with pytest.raises(FileError, match="not an unencrypted PEM private key"):
        keys.signing_key()
    second.unlink()
    with pytest.raises(FileError, match="no such file"):
        keys.signing_key()
