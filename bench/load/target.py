"""What is measured: an address, who we are to it, and the pictures to send. Whatever is wrong here is said before a
run.

The token never leaves this file but in a request's header: it is not shown, not logged, not written to results.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError
from gateway.client.connection import request_url as address_of
from gateway.client.pictures import CONTENT_TYPES
from gateway.client.pictures import Picture as Picture

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLES = REPOSITORY / "edge_worker" / "models" / "digits" / "samples"
DEMO = REPOSITORY / ".demo"
DEMO_URL = "https://localhost:8443"
TOKEN_VARIABLE = "BENCH_TOKEN"  # noqa: S105  a name

MAX_PICTURES_BYTES = 1 << 30
"""All pictures are read before the run, so that no disk is measured; more than this would not fit beside it."""


@dataclass(frozen=True)
class Target:
    """Where requests go and what they carry."""

    url: str
    """The whole address of the POST."""
    pictures: tuple[Picture, ...]
    tls: ssl.SSLContext | None = None
    """None for http."""
    token: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers of every request."""
    server_name: str | None = None
    """The name that its certificate must have, where the address has another; None: that of the address."""
    wants_json: bool = True
    """Whether an answer that is not JSON is a failure."""


def request_url(url: str, model: str) -> str:
    """An address without a path is a gateway: `/inference/MODEL` is added. One with a path is taken as it is. Raises
    BenchError."""
    try:
        return address_of(url, model, {})
    except ValueError as error:
        raise BenchError(str(error)) from error


def tls_context(url: str, ca: Path | None) -> ssl.SSLContext | None:
    """Verifies with this CA, or with the system's. Raises BenchError."""
    if not url.startswith("https://"):
        return None
    try:
        context = ConnectingContext(ssl.PROTOCOL_TLS_CLIENT)
        if ca is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise BenchError(f"cannot use {ca} as a CA: {getattr(error, 'strerror', None) or error}") from error
    return context


class ConnectingContext(ssl.SSLContext):
    """Tells `on_handshake` that a handshake begins: it is what splits a connect into TCP and TLS."""

    on_handshake = staticmethod(lambda: None)

    def wrap_bio(  # type: ignore[no-untyped-def]  # as the event loop calls it
        self, *arguments, **options
    ) -> ssl.SSLObject:
        """As in the base class."""
        self.on_handshake()
        return super().wrap_bio(*arguments, **options)


def read_token(file: Path | None, fallback: Path | None = None) -> str:
    """From a file, or from the environment's BENCH_TOKEN, or from `fallback` if it is there; '' without. Raises
    BenchError."""
    if file is None:
        if given := os.environ.get(TOKEN_VARIABLE, "").strip():
            return given
        if fallback is None or not fallback.exists():
            return ""
        file = fallback
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"cannot read the token {file}: {getattr(error, 'strerror', None) or error}") from error
    if not token or any(not character.isprintable() or character == " " for character in token):
        raise BenchError(f"{file} holds no token: one line of printable characters")
    return token


def read_pictures(folder: Path) -> tuple[Picture, ...]:
    """Every picture of a folder, by name; or one file. Raises BenchError."""
    if not folder.exists():
        raise BenchError(f"there is no {folder}")
    files = [folder] if folder.is_file() else sorted(folder.iterdir())
    pictures, total = [], 0
    for file in files:
        content_type = CONTENT_TYPES.get(file.suffix.lower())
        if content_type is None or not file.is_file():
            continue
        total += file.stat().st_size
        if total > MAX_PICTURES_BYTES:
            raise BenchError(f"the pictures in {folder} are over {MAX_PICTURES_BYTES} bytes; give a folder with fewer")
        try:
            pictures.append(Picture(file.name, content_type, file.read_bytes()))
        except OSError as error:
            raise BenchError(f"cannot read {file}: {error.strerror}") from error
    if not pictures:
        raise BenchError(f"{folder} has no picture: none of its files ends in {', '.join(CONTENT_TYPES)}")
    return tuple(pictures)
