"""gateway/credentials_cli.py: what whoever issues tokens types, from first key to revocation."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.auth import Authenticator, Reason, TokenRefused
from gateway.credentials_cli import register
from gateway.revocations import read_revocations
from tests.support.credentials import Issuer

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs one command line in an empty directory: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        parser = argparse.ArgumentParser(prog="gateway")
        register(parser.add_subparsers(required=True))
        try:
            arguments = parser.parse_args(words)
            code = arguments.run(arguments)
        except SystemExit as left:
            code = left.code
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


@pytest.fixture
def keys(run: Run) -> Path:
    """The default directory, made by the command."""
    assert run("keys", "init")[0] == 0
    return Path("keys")


def issue(run: Run, *words: str) -> str:
    code, token, error = run("token", "issue", "--subject", "lab-1", "--scope", "worker:lab-1", *words)
    assert (code, error) == (0, "")
    return token.strip()


def gateway(keys: Path) -> Authenticator:
    return Authenticator(keys / "jwks.json", keys / "revoked.txt")


def test_an_issued_token_opens_the_gateway(run: Run, keys: Path) -> None:
    """The token alone is printed, and says what the command line said."""
    token = issue(run, "--scope", "infer:*", "--expires", "2h")
    principal = gateway(keys).authenticate(f"Bearer {token}")
    assert principal.subject == "lab-1"
    assert principal.scopes == {"worker:lab-1", "infer:*"}
    assert principal.expires_at - principal.not_before == 7200


def test_two_tokens_can_be_told_apart(run: Run, keys: Path) -> None:
    """Each token has a jti of its own."""
    assert gateway(keys).verify(issue(run)).token_id != gateway(keys).verify(issue(run)).token_id


def test_a_token_goes_to_a_file(run: Run, keys: Path) -> None:
    """--out writes a file that only its owner reads and prints nothing; the remark names the jti, not the token."""
    code, output, remark = run("token", "issue", "--subject", "s", "--scope", "admin", "--out", "admin.token")
    token = Path("admin.token").read_text().strip()
    assert (code, output) == (0, "")
    assert Path("admin.token").stat().st_mode & 0o777 == 0o600
    assert gateway(keys).verify(token).is_admin
    assert gateway(keys).verify(token).token_id in remark
    assert token not in remark


def test_a_token_that_cannot_be_written_is_an_error(run: Run, keys: Path) -> None:
    """A directory that is not there is named, with exit code 1."""
    code, _, error = run("token", "issue", "--subject", "s", "--scope", "admin", "--out", "no/where")
    assert code == 1
    assert "no/where: no such file or directory" in error


@pytest.mark.parametrize("form", ["token", "file", "stdin", "jti"])
def test_a_revoked_token_is_refused(run: Run, keys: Path, form: str) -> None:
    """A token can be revoked by itself, by a file, from standard input or by its jti; others stay good."""
    token, other = issue(run), issue(run)
    token_id = gateway(keys).verify(token).token_id
    Path("a.token").write_text(f"{token}\n")
    argument = {"token": token, "file": "a.token", "stdin": "-", "jti": token_id}[form]
    code, output, error = run("token", "revoke", argument, stdin=f"{token}\n")
    assert (code, output) == (0, f"{token_id}\n"), error
    with pytest.raises(TokenRefused) as caught:
        gateway(keys).verify(token)
    assert caught.value.reason is Reason.REVOKED
    assert gateway(keys).verify(other)
    assert ("never" in (keys / "revoked.txt").read_text()) == (form == "jti")
    assert (f"{token_id} is no token and no file: taken as a jti" in error) == (form == "jti")


@pytest.mark.parametrize("form", ["token", "jti"])
def test_revoking_once_more_says_so(run: Run, keys: Path, form: str) -> None:
    """What is revoked stays revoked, the list as it was, and the command says that nothing was new."""
    token = issue(run)
    _, token_id, first = run("token", "revoke", token)
    revoked = read_revocations(keys / "revoked.txt")
    code, output, second = run("token", "revoke", token if form == "token" else token_id.strip())
    assert (code, output) == (0, token_id)
    assert ("already" in first, "already" in second) == (False, True)
    assert read_revocations(keys / "revoked.txt") == revoked


def test_revoking_with_an_altered_token_is_refused(run: Run, keys: Path) -> None:
    """A token that does not verify is not believed about its expiry, or it could make its line be forgotten early."""
    forged = Issuer(Path("other")).token(jti="known")
    code, output, error = run("token", "revoke", forged)
    assert (code, output) == (1, "")
    assert "by its jti alone" in error
    assert forged not in error
    assert read_revocations(keys / "revoked.txt") == frozenset()


@pytest.mark.parametrize("argument", ["two words", "", "#x", "-"])
def test_revoking_nothing_is_an_error(run: Run, keys: Path, argument: str) -> None:
    """What is neither a token, a file nor a jti is said to be so."""
    code, _, error = run("token", "revoke", argument)
    assert code == 1
    assert "neither a token, nor a file that holds one, nor a jti" in error


def test_a_token_can_be_shown(run: Run, keys: Path) -> None:
    """Header, claims and the verdict, with exit code 0 while it verifies."""
    token = issue(run)
    code, output, remark = run("token", "show", "-", stdin=token)
    shown = json.loads(output)
    assert code == 0
    assert shown["header"]["alg"] == "EdDSA"
    assert shown["claims"]["sub"] == "lab-1"
    assert remark.startswith("verifies; valid until 2")


def test_a_bad_token_can_be_shown_too(run: Run, keys: Path) -> None:
    """What it says is printed, then why it is refused, with exit code 1."""
    code, output, error = run("token", "show", Issuer(Path("other")).token(sub="nobody"))
    assert code == 1
    assert json.loads(output)["claims"]["sub"] == "nobody"
    assert "does not verify: the token's key" in error


@pytest.mark.parametrize("argument", ["garbage", "a.b.c", "keys/jwks.json"])
def test_showing_what_is_no_token_is_an_error(run: Run, keys: Path, argument: str) -> None:
    """Anything else is said to be no JWT."""
    code, output, error = run("token", "show", argument)
    assert (code, output) == (1, "")
    assert "not a JWT" in error


def test_issuer_and_audience_can_be_chosen(run: Run, keys: Path) -> None:
    """A token for another audience shows as refused unless the same audience is given."""
    token = issue(run, "--audience", "blue", "--issuer", "me")
    assert run("token", "show", token)[0] == 1
    assert run("token", "show", token, "--audience", "blue", "--issuer", "me")[0] == 0


def test_keys_are_rotated_listed_and_retired(run: Run, keys: Path) -> None:
    """Each step of a rotation shows in the list, and an old token lives until its key is retired."""
    first = run("keys", "list")[1].split()[0]
    token = issue(run)
    second = run("keys", "rotate", "--algorithm", "ES256")[1].strip()
    assert run("keys", "list")[1] == f"{first}  EdDSA  verifies\n{second}  ES256  signs\n"
    assert gateway(keys).verify(token)
    assert gateway(keys).verify(issue(run)).key_id == second
    assert run("keys", "retire", first)[0] == 0
    assert run("keys", "list")[1] == f"{second}  ES256  signs\n"
    assert run("token", "show", token)[0] == 1


def test_a_list_says_where_a_private_key_is_missing(run: Run, keys: Path) -> None:
    """A copy without private keys, as a gateway has it, can be listed."""
    kid = run("keys", "list")[1].split()[0]
    (keys / "private" / f"{kid}.pem").unlink()
    assert run("keys", "list")[1] == f"{kid}  EdDSA  signs  (its private key is not here)\n"


def test_a_second_init_is_harmless(run: Run, keys: Path) -> None:
    """It prints no key, says that nothing was done, and succeeds, so that scripts may repeat it."""
    before = (keys / "jwks.json").read_text()
    code, output, remark = run("keys", "init")
    assert (code, output) == (0, "")
    assert "nothing done" in remark
    assert (keys / "jwks.json").read_text() == before


def test_keys_may_be_elsewhere(run: Run) -> None:
    """--keys names the directory for every command."""
    assert run("keys", "init", "--keys", "else/where")[0] == 0
    token = run("token", "issue", "--keys", "else/where", "--subject", "s", "--scope", "admin")[1].strip()
    assert run("token", "show", "--keys", "else/where", token)[0] == 0
    assert run("token", "revoke", "--keys", "else/where", token)[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "list"),
        ("keys", "rotate"),
        ("keys", "retire", "x"),
        ("token", "issue", "--subject", "s", "--scope", "admin"),
        ("token", "revoke", "x"),
    ],
)
def test_without_keys_each_command_says_what_is_missing(run: Run, words: tuple[str, ...]) -> None:
    """Before `keys init` the error names the file or directory, with exit code 1."""
    code, output, error = run(*words)
    assert (code, output) == (1, "")
    assert "keys" in error
    assert "no such file or directory" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "required"),
        (("keys",), "ACTION"),
        (("keys", "init", "--algorithm", "HS256"), "choose from"),
        (("token", "issue"), "--subject, --scope"),
        (("token", "issue", "--subject", "s", "--scope", "everything"), "use worker:NAME, worker:*, infer:MODEL"),
        (("token", "issue", "--subject", "s", "--scope", "worker:"), "use worker:NAME"),
        (("token", "issue", "--subject", "s", "--scope", "admin infer:*"), "use worker:NAME"),
        (("token", "issue", "--subject", "two words", "--scope", "admin"), "without spaces"),
        (("token", "issue", "--subject", "s", "--scope", "admin", "--expires", "soon"), "such as 12h or 30d"),
        (("token", "issue", "--subject", "s", "--scope", "admin", "--expires", "0d"), "such as 12h or 30d"),
        (("token", "issue", "--subject", "s", "--scope", "admin", "--expires", "99999d"), "at most 3650d"),
        (("token", "revoke"), "TOKEN"),
    ],
)
def test_a_wrong_command_line_says_what_is_allowed(run: Run, words: tuple[str, ...], message: str) -> None:
    """Exit code 2, the argument and what it may be; nothing is made."""
    code, output, error = run(*words)
    assert (code, output) == (2, "")
    assert message in error
    assert not Path("keys").exists()


def test_a_key_that_is_not_there_cannot_be_retired(run: Run, keys: Path) -> None:
    """The error lists those that are."""
    code, _, error = run("keys", "retire", "20000101-00000000")
    assert code == 1
    assert "the keys are 2" in error
