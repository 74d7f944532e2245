"""Certificates made by the project's own script, and a TLS handshake in memory: real OpenSSL, no socket, no waiting."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "certs" / "make.sh"


def make(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs certs/make.sh into `out`; the caller looks at the exit code."""
    command = ["bash", str(SCRIPT), "--out", str(out), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def made(out: Path, *arguments: str) -> Path:
    """The directory after a run that went well."""
    done = make(out, *arguments)
    assert done.returncode == 0, done.stderr
    return out


def client_context(ca_file: Path, pair: Path | None = None) -> ssl.SSLContext:
    """A strict client, as Python 3.13 makes them by default; `pair` is a client certificate's path without `.pem`."""
    context = ssl.create_default_context(cafile=ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    if pair is not None:
        context.load_cert_chain(f"{pair}.pem", f"{pair}.key")
    return context


def handshake(
    server_context: ssl.SSLContext, context: ssl.SSLContext, name: str = "localhost"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """The server's and the client's end after both are satisfied. Raises what either raises (ssl.SSLError)."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = context.wrap_bio(to_client, to_server, server_hostname=name)
    unfinished = [client, server]
    for _ in range(10):
        unfinished = [end for end in unfinished if not _is_done(end)]
        if not unfinished:
            break
    assert not unfinished, "the handshake does not end"
    # With TLS 1.3 the client is done before the server has judged its certificate: a byte proves that it was accepted.
    client.write(b"x")
    assert server.read(1) == b"x"
    return server, client


def _is_done(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
