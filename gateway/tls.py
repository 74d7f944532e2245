"""The public port's TLS: one SSLContext that follows its certificate files, and who a worker's certificate names.

A change is loaded into a new context first and only then put in front of new connections, so that half a change (a
certificate without its key yet) never touches the one in use. Open connections keep what they began with.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from gateway.errors import Forbidden
from gateway.files import FileError, describe
from gateway.watch import FileStamps

_CERTIFICATE = "tls.certificate"
_PRIVATE_KEY = "tls.private_key"
_WORKER_CA = "tls.worker_ca"

PeerCertificate = Mapping[str, Any]
"""What `ssl.SSLSocket.getpeercert()` returns; its values are nested tuples that the ssl module does not type."""


class ServerTls:
    """`context` is what the listener is given, once; reloading changes what stands behind it."""

    def __init__(self, certificate_file: Path, key_file: Path, worker_ca_file: Path | None = None) -> None:
        """PEM files: the server's certificate with its chain, its private key, and the authority of workers' client
        certificates (None: workers are not asked for one). Raises FileError that names the field and the file."""
        self._certificate_file = certificate_file
        self._key_file = key_file
        self._worker_ca_file = worker_ca_file
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger()
        self._stamps = FileStamps([certificate_file, key_file, *([worker_ca_file] if worker_ca_file else [])])
        self._current = self._load()
        self.context = self._load()
        # Called for every ClientHello, also one without a server name (RFC 6066 3), before a certificate is chosen.
        self.context.sni_callback = self._put_current_in_front

    @property
    def verifies_workers(self) -> bool:
        """Whether a worker must show a certificate: see `require_worker_certificate`."""
        return self._worker_ca_file is not None

    def reload_if_changed(self) -> bool:
        """Reads the files again if one changed; True if the new ones are in use. Broken ones are logged, the old
        stay."""
        if not self._stamps.have_changed():
            return False
        try:
            self._current = self._load()
        except FileError as error:
            self._log.error("certificates_not_reloaded", problem=str(error))
            return False
        self._log.info("certificates_reloaded", certificate_file=str(self._certificate_file))
        return True

    def _put_current_in_front(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION  # a client could make the server redo its expensive half at will
        context.set_alpn_protocols(["http/1.1"])
        self._load_certificate(context)
        if self._worker_ca_file is not None:
            self._load_worker_ca(context, self._worker_ca_file)
        return context

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        """Reads each file alone first: the ssl module does not say which of the two it could not use."""
        for field, path in ((_CERTIFICATE, self._certificate_file), (_PRIVATE_KEY, self._key_file)):
            _require_readable(field, path)
        try:
            context.load_cert_chain(self._certificate_file, self._key_file, password=self._refuse_to_ask)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                problem = f"is not the key of the certificate in {self._certificate_file}"
                raise FileError(_PRIVATE_KEY, self._key_file, problem) from error
            problem = f"not a PEM certificate with its private key in {self._key_file} ({error.reason or 'no PEM'})"
            raise FileError(_CERTIFICATE, self._certificate_file, problem) from error

    def _load_worker_ca(self, context: ssl.SSLContext, path: Path) -> None:
        _require_readable(_WORKER_CA, path)
        try:
            context.load_verify_locations(cafile=path)
        except ssl.SSLError as error:
            problem = f"no PEM certificates that can be used ({error.reason or 'no PEM'})"
            raise FileError(_WORKER_CA, path, problem) from error
        # Clients share the port and have no certificate: who must have one is decided when a worker names itself.
        context.verify_mode = ssl.CERT_OPTIONAL

    def _refuse_to_ask(self) -> str:
        """Without this, OpenSSL asks the terminal for the passphrase and the gateway hangs at its start."""
        raise FileError(_PRIVATE_KEY, self._key_file, "is encrypted, and there is nobody to ask for its passphrase")


def names_in(certificate: PeerCertificate | None) -> frozenset[str]:
    """The worker names that a verified client certificate vouches for: its subject's common name and DNS names.

    Empty without a certificate. Names are compared as they are: `*` is no wildcard here.
    """
    if not certificate:
        return frozenset()
    common = (value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName")
    alternative = (value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS")
    return frozenset((*common, *alternative))


def require_worker_certificate(certificate: PeerCertificate | None, worker: str) -> None:
    """Raises Forbidden unless the connection's certificate names this worker. Call where `verifies_workers`."""
    names = names_in(certificate)
    if worker in names:
        return
    if not names:
        raise Forbidden("this gateway wants workers to show a client certificate: give the worker one for its name")
    name = ascii(worker)[1:-1][:128]
    raise Forbidden(f"the client certificate does not name the worker {name}: its common name must be that name")


def _require_readable(field: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise FileError(field, path, describe(error)) from error
