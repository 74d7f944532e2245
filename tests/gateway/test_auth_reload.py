"""gateway/auth.py: keys and revocations change under a running gateway."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.auth import Authenticator, Reason, TokenRefused
from gateway.files import FileError
from gateway.revocations import revoke
from tests.support.credentials import NOW, Clock, Issuer


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "keys")


@pytest.fixture
def gateway(issuer: Issuer) -> Authenticator:
    return issuer.authenticator(Clock())


def reason(gateway: Authenticator, token: str) -> Reason:
    with pytest.raises(TokenRefused) as caught:
        gateway.verify(token)
    return caught.value.reason


def test_nothing_is_read_while_nothing_changes(gateway: Authenticator) -> None:
    """Without a change there is no reload, and nobody is told."""
    gateway.subscribe(lambda: pytest.fail("told without a change"))
    assert not gateway.reload_if_changed()


def test_a_revoked_token_is_refused(gateway: Authenticator, issuer: Issuer) -> None:
    """Once the list is read again, a token that was remembered as verified is refused; others go on working."""
    token, other = issuer.token(jti="bad"), issuer.token(jti="good")
    gateway.verify(token)
    revoke(issuer.directory.revocations_file, "bad", NOW + 3600, NOW)
    assert gateway.reload_if_changed()
    assert reason(gateway, token) is Reason.REVOKED
    assert gateway.verify(other).token_id == "good"


def test_a_revocation_that_is_taken_back_is_forgotten(gateway: Authenticator, issuer: Issuer) -> None:
    """The file is the whole truth: a line that is removed no longer counts."""
    token = issuer.token(jti="bad")
    revoke(issuer.directory.revocations_file, "bad", NOW + 3600, NOW)
    gateway.reload_if_changed()
    issuer.directory.revocations_file.write_text("")
    assert gateway.reload_if_changed()
    assert gateway.verify(token)


def test_rotation_drops_nobody(gateway: Authenticator, issuer: Issuer) -> None:
    """After a rotation tokens of the old key and of the new one verify; after retiring, those of the new one only."""
    first = issuer.key.kid
    old = issuer.token()
    issuer.directory.rotate(None, NOW)
    new = issuer.token()
    assert reason(gateway, new) is Reason.UNKNOWN_KEY
    assert gateway.reload_if_changed()
    assert gateway.verify(old).key_id == first
    assert gateway.verify(new).key_id == issuer.key.kid
    issuer.directory.retire(first)
    assert gateway.reload_if_changed()
    assert reason(gateway, old) is Reason.UNKNOWN_KEY
    assert gateway.verify(new)


def test_a_retired_key_ends_what_it_let_in(gateway: Authenticator, issuer: Issuer) -> None:
    """A Principal that is held since before fails its recheck once the key that signed its token is gone."""
    held = gateway.verify(issuer.token())
    issuer.directory.rotate(None, NOW)
    issuer.directory.retire(held.key_id)
    gateway.reload_if_changed()
    with pytest.raises(TokenRefused) as caught:
        gateway.recheck(held)
    assert caught.value.reason is Reason.UNKNOWN_KEY


def test_another_key_under_an_old_name_is_another_key(gateway: Authenticator, issuer: Issuer, tmp_path: Path) -> None:
    """A key set edited by hand may give a kid to a new key: a token remembered from the old one verifies no more."""
    token = issuer.token()
    gateway.verify(token)
    other = Issuer(tmp_path / "other")
    text = other.directory.jwks_file.read_text().replace(other.key.kid, issuer.key.kid)
    issuer.directory.jwks_file.write_text(text + "\n")
    assert gateway.reload_if_changed()
    assert reason(gateway, token) is Reason.SIGNATURE


def test_subscribers_recheck_the_principals_they_hold(gateway: Authenticator, issuer: Issuer) -> None:
    """A tunnel that holds a Principal is told of a change and finds that its token was revoked; others pass."""
    held = {name: gateway.verify(issuer.token(jti=name)) for name in ("bad", "good")}
    dropped = []

    def recheck_all() -> None:
        for name, principal in held.items():
            try:
                gateway.recheck(principal)
            except TokenRefused as refused:
                dropped.append((name, refused.reason))

    gateway.subscribe(recheck_all)
    revoke(issuer.directory.revocations_file, "bad", NOW + 3600, NOW)
    gateway.reload_if_changed()
    assert dropped == [("bad", Reason.REVOKED)]


def test_a_subscriber_may_leave(gateway: Authenticator, issuer: Issuer) -> None:
    """After unsubscribing, also from within the call, a subscriber hears nothing more and the next one still does."""
    heard: list[str] = []

    def once() -> None:
        heard.append("once")
        leave()

    leave = gateway.subscribe(once)
    gateway.subscribe(lambda: heard.append("always"))
    for _ in range(2):
        issuer.directory.rotate(None, NOW)
        gateway.reload_if_changed()
    assert heard == ["once", "always", "always"]


@pytest.mark.parametrize("broken", ["", "{", '{"keys": []}', '{"keys": [{"kid": "a", "kty": "oct", "k": "AAAA"}]}'])
def test_broken_keys_leave_the_old_ones_in_force(gateway: Authenticator, issuer: Issuer, broken: str) -> None:
    """A key file that cannot be used is logged once, with its name, and tokens go on verifying."""
    token = issuer.token()
    gateway.subscribe(lambda: pytest.fail("told of a change that did not happen"))
    issuer.directory.jwks_file.write_text(broken)
    with capture_logs() as logs:
        assert not gateway.reload_if_changed()
        assert not gateway.reload_if_changed()
    assert [(log["event"], log["log_level"]) for log in logs] == [("credentials_not_reloaded", "error")]
    assert str(issuer.directory.jwks_file) in logs[0]["problem"]
    assert gateway.verify(token)


@pytest.mark.parametrize("broken", ["bad\n", "bad soon\n", None])
def test_broken_revocations_leave_the_old_ones_in_force(
    gateway: Authenticator, issuer: Issuer, broken: str | None
) -> None:
    """A list that cannot be read, or is gone, takes no revocation back."""
    token = issuer.token(jti="bad")
    path = issuer.directory.revocations_file
    revoke(path, "bad", NOW + 3600, NOW)
    gateway.reload_if_changed()
    path.write_text(broken) if broken else path.unlink()
    with capture_logs() as logs:
        assert not gateway.reload_if_changed()
    assert str(path) in logs[0]["problem"]
    assert reason(gateway, token) is Reason.REVOKED


def test_a_mended_file_is_taken(gateway: Authenticator, issuer: Issuer) -> None:
    """After a broken file, the next good one is read."""
    path = issuer.directory.jwks_file
    good = path.read_text()
    path.write_text("{")
    gateway.reload_if_changed()
    path.write_text(good)
    assert gateway.reload_if_changed()


def test_a_file_of_the_same_size_and_age_is_noticed(gateway: Authenticator, issuer: Issuer, tmp_path: Path) -> None:
    """A rename that keeps length and modification time, as copying tools do, shows by its inode."""
    path = issuer.directory.jwks_file
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    os.utime(copy, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    copy.rename(path)
    assert gateway.reload_if_changed()


@pytest.mark.parametrize("name", ["jwks.json", "revoked.txt"])
def test_a_gateway_does_not_start_without_its_files(issuer: Issuer, name: str) -> None:
    """A missing file is an error at the start, which names it: nothing is revoked must be said by an empty list."""
    (issuer.directory.jwks_file.parent / name).unlink()
    with pytest.raises(FileError, match=rf"^auth\.(jwks|revocations): .*{name}: no such file"):
        issuer.authenticator(Clock())


def test_a_gateway_needs_no_revocation_list(issuer: Issuer) -> None:
    """Without a configured list tokens verify, and only the keys are watched."""
    gateway = Authenticator(issuer.directory.jwks_file, clock=Clock())
    assert gateway.verify(issuer.token())
    revoke(issuer.directory.revocations_file, "x", NOW, NOW)
    assert not gateway.reload_if_changed()
