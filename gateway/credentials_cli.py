"""`gateway keys` and `gateway token`: what whoever issues tokens types. Works on files alone; no gateway need run.

Standard output carries the result and nothing else, so that it can be piped; remarks go to standard error. Exit codes:
0 done, 1 it could not be done or the token does not verify, 2 the command line is wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gateway.auth import (
    DEFAULT_AUDIENCE,
    DEFAULT_ISSUER,
    MAX_TOKEN_BYTES,
    SCOPE,
    SUBJECT,
    Authenticator,
    Principal,
    TokenRefused,
    read_unverified,
    sign,
    utc,
)
from gateway.files import FileError, read_bounded, write_atomically
from gateway.keys import ALGORITHMS, KeyDirectory, KeyMisuse, newest
from gateway.revocations import TOKEN_ID, revoke

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_S = 3650 * 86400
"""Ten years: longer is a typing error, or a token that nobody will remember to revoke."""


class _Failed(Exception):
    """The command line was right and the thing could not be done; the text is for the person."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `keys` and `token` to the program's commands. Each sets `run`, which takes the parsed arguments and
    returns the exit code."""
    _register_keys(subparsers.add_parser("keys", help="make and retire the keys that sign tokens"))
    _register_token(subparsers.add_parser("token", help="issue, revoke and inspect tokens"))


def _register_keys(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    init = _action(actions, "init", _keys_init, "make the directory and its first key; leaves existing keys alone")
    init.add_argument("--algorithm", choices=ALGORITHMS, default="EdDSA", help="default: EdDSA")
    rotate = _action(actions, "rotate", _keys_rotate, "add a key that signs from now on; the older ones still verify")
    rotate.add_argument("--algorithm", choices=ALGORITHMS, help="default: that of the present key")
    retire = _action(actions, "retire", _keys_retire, "forget an older key: the tokens it signed are refused")
    retire.add_argument("kid", metavar="KID", help="as `gateway keys list` shows it")
    _action(actions, "list", _keys_list, "show the keys, oldest first")


def _register_token(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    issue = _action(actions, "issue", _token_issue, "print a new token")
    issue.add_argument("--subject", required=True, type=_subject, metavar="NAME", help="who it is for, as logs show it")
    issue.add_argument(
        "--scope", required=True, action="append", type=_scope, metavar="SCOPE",
        help="worker:NAME, worker:*, infer:MODEL, infer:* or admin; may be given several times",
    )  # fmt: skip
    issue.add_argument(
        "--expires", type=_duration_s, default="30d", metavar="TIME", help="90s, 15m, 12h or 30d (default: 30d)"
    )
    issue.add_argument("--out", type=Path, metavar="FILE", help="write it there, readable by you alone")
    revoked = _action(actions, "revoke", _token_revoke, "refuse a token from now on")
    show = _action(actions, "show", _token_show, "print what a token says and whether it verifies")
    for inspecting in (revoked, show):
        inspecting.add_argument("token", metavar="TOKEN", help="a token, a file with one, or - for standard input")
    revoked.epilog = "TOKEN may also be a token's jti alone, for a token that is no longer at hand."
    for with_parties in (issue, show, revoked):
        with_parties.add_argument("--issuer", default=DEFAULT_ISSUER, help=f"default: {DEFAULT_ISSUER}")
        with_parties.add_argument("--audience", default=DEFAULT_AUDIENCE, help=f"default: {DEFAULT_AUDIENCE}")


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    act: Callable[[argparse.Namespace], None],
    summary: str,
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
    parser.add_argument("--keys", type=Path, default=Path("keys"), metavar="DIR", help="the directory (default: keys)")
    parser.set_defaults(run=lambda arguments: _reported(act, arguments))
    return parser


def _reported(act: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    try:
        act(arguments)
    except (_Failed, FileError, KeyMisuse) as error:
        _remark(f"gateway: {error}")
        return 1
    return 0


def _keys_init(arguments: argparse.Namespace) -> None:
    directory = KeyDirectory(arguments.keys)
    kid = directory.init(arguments.algorithm, time.time())
    if kid is None:
        _remark(f"{directory.jwks_file} is there already: nothing done (`gateway keys rotate` adds a key)")
        return
    print(kid)
    _remark(f"made {arguments.keys}: give gateways {directory.jwks_file} and {directory.revocations_file}, no more")


def _keys_rotate(arguments: argparse.Namespace) -> None:
    print(KeyDirectory(arguments.keys).rotate(arguments.algorithm, time.time()))
    _remark("signs from now on; give gateways the new jwks.json before the first token it signs is used")


def _keys_retire(arguments: argparse.Namespace) -> None:
    KeyDirectory(arguments.keys).retire(arguments.kid)
    _remark(f"retired {arguments.kid}: its tokens are refused where the new jwks.json is in place")


def _keys_list(arguments: argparse.Namespace) -> None:
    directory = KeyDirectory(arguments.keys)
    keys = directory.public_keys()
    for kid, key in keys.items():
        use = "signs" if kid == newest(keys) else "verifies"
        private = "" if directory.has_private(kid) else "  (its private key is not here)"
        print(f"{kid}  {key.algorithm}  {use}{private}")


def _token_issue(arguments: argparse.Namespace) -> None:
    key = KeyDirectory(arguments.keys).signing_key()
    now = int(time.time())
    claims = {
        "iss": arguments.issuer,
        "aud": arguments.audience,
        "sub": arguments.subject,
        "scope": " ".join(arguments.scope),
        "jti": secrets.token_hex(16),
        "iat": now,
        "nbf": now,
        "exp": now + arguments.expires,
    }
    token = sign(claims, key.private_key, key.algorithm, key.kid)
    if arguments.out is None:
        print(token)
        return
    write_atomically("--out", arguments.out, f"{token}\n".encode("ascii"), 0o600)
    _remark(f"wrote {arguments.out}; its jti is {claims['jti']}, valid until {utc(now + arguments.expires)}")


def _token_revoke(arguments: argparse.Namespace) -> None:
    directory = KeyDirectory(arguments.keys)
    token_id, expires_at = _what_to_revoke(arguments, directory)
    is_new = revoke(directory.revocations_file, token_id, expires_at, time.time())
    print(token_id)
    before = "" if is_new else "was revoked already: "
    _remark(f"{before}refused where the new {directory.revocations_file.name} is in place")


def _what_to_revoke(arguments: argparse.Namespace, directory: KeyDirectory) -> tuple[str, float]:
    """The jti and the expiry. Only a token that verifies is believed: an altered one could name an early expiry, and
    its line would be forgotten while the real token still works."""
    text = _token_text(arguments.token)
    if not _is_token(text):
        if not TOKEN_ID.fullmatch(text):
            raise _Failed("TOKEN is neither a token, nor a file that holds one, nor a jti")
        _remark(f"{text} is no token and no file: taken as a jti")
        return text, math.inf
    try:
        principal = _principal_of(text, arguments, directory.jwks_file, None)  # that it was revoked already is no fault
    except TokenRefused as refusal:
        raise _Failed(f"{refusal.detail}; a token that does not verify can be revoked by its jti alone") from refusal
    return principal.token_id, principal.expires_at


def _token_show(arguments: argparse.Namespace) -> None:
    text = _token_text(arguments.token)
    try:
        header, claims = read_unverified(text)
    except ValueError as error:
        raise _Failed("TOKEN is not a JWT, nor a file that holds one") from error
    print(json.dumps({"header": header, "claims": claims}, indent=2))
    try:
        directory = KeyDirectory(arguments.keys)
        principal = _principal_of(text, arguments, directory.jwks_file, directory.revocations_file)
    except TokenRefused as refusal:
        raise _Failed(f"does not verify: {refusal.detail}") from refusal
    _remark(f"verifies; valid until {utc(principal.expires_at)}")


def _principal_of(token: str, arguments: argparse.Namespace, jwks_file: Path, revocations: Path | None) -> Principal:
    """Exactly the gateway's judgement, with the issuer's own files. Raises TokenRefused, FileError."""
    parties = {"issuer": arguments.issuer, "audience": arguments.audience}
    return Authenticator(jwks_file, revocations, **parties).verify(token)


def _token_text(argument: str) -> str:
    """A token is never taken for a file name: it would be a very strange one, and the error would print it."""
    if argument == "-":
        return sys.stdin.read(MAX_TOKEN_BYTES).strip()
    if _is_token(argument) or not os.path.exists(argument):
        return argument
    data = read_bounded("TOKEN", Path(argument), MAX_TOKEN_BYTES)
    return data.decode("ascii", errors="replace").strip()


def _is_token(text: str) -> bool:
    try:
        read_unverified(text)
    except ValueError:
        return False
    return True


def _subject(text: str) -> str:
    if not SUBJECT.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: use 1 to 128 printable ASCII characters without spaces")
    return text


def _scope(text: str) -> str:
    if not SCOPE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: use worker:NAME, worker:*, infer:MODEL, infer:* or admin")
    return text


def _duration_s(text: str) -> int:
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not 0 < seconds <= _LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r}: use a number and s, m, h or d, such as 12h or 30d; at most 3650d")
    return seconds


def _remark(text: str) -> None:
    print(text, file=sys.stderr)
