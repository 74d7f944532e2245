"""gateway/tls.py: the listener's context, its reload, and workers' certificates."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.errors import Forbidden
from gateway.files import FileError
from gateway.tls import ServerTls, names_in, require_worker_certificate
from tests.support.certificates import client_context, handshake, made


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("first"), "--client", "lab-1")


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another authority with everything of its own."""
    return made(tmp_path_factory.mktemp("second"), "--client", "lab-1")


@pytest.fixture
def files(first: Path, tmp_path: Path) -> Path:
    """A copy of the first set that a test may change."""
    copy = tmp_path / "files"
    shutil.copytree(first, copy)
    return copy


def server(files: Path, *, worker_ca: bool = False) -> ServerTls:
    return ServerTls(files / "server.pem", files / "server.key", files / "ca.pem" if worker_ca else None)


def install(source: Path, files: Path, *names: str) -> None:
    for name in names:
        shutil.copy(source / name, files / "new")
        (files / "new").rename(files / name)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_verifying_client_connects(first: Path, name: str) -> None:
    """By name and by address, which sends no server name, over TLS 1.3 and HTTP/1.1."""
    client = client_context(first / "ca.pem")
    client.set_alpn_protocols(["h2", "http/1.1"])
    _, end = handshake(server(first).context, client, name)
    assert end.version() == "TLSv1.3"
    assert end.selected_alpn_protocol() == "http/1.1"


def test_tls_1_2_is_the_least(first: Path) -> None:
    """A client that stops at TLS 1.2 connects, and what is older is not offered."""
    client = client_context(first / "ca.pem")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    tls = server(first)
    _, end = handshake(tls.context, client)
    assert end.version() == "TLSv1.2"
    assert tls.context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_tls_1_1_is_refused(first: Path) -> None:
    """A client that has nothing newer than TLS 1.1 is turned away by the server."""
    client = client_context(first / "ca.pem")
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match=r"UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION|NO_PROTOCOLS_AVAILABLE"):
        handshake(server(first).context, client)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_new_files_serve_new_connections(files: Path, first: Path, second: Path, name: str) -> None:
    """After a reload the same context shows the new certificate; nobody who trusts only the old one connects, and a
    connection that was open goes on."""
    tls = server(files)
    old_server, old_client = handshake(tls.context, client_context(first / "ca.pem"), name)
    install(second, files, "server.pem", "server.key")
    assert tls.reload_if_changed()
    handshake(tls.context, client_context(second / "ca.pem"), name)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tls.context, client_context(first / "ca.pem"), name)
    old_client.write(b"still here")
    assert old_server.read(10) == b"still here"


def test_unchanged_files_are_not_read(files: Path) -> None:
    """Without a change there is nothing to do."""
    assert not server(files).reload_if_changed()


def test_half_a_change_leaves_the_old_pair_in_force(files: Path, first: Path, second: Path) -> None:
    """A new certificate without its key is logged, the old pair serves on, and the key's arrival completes it."""
    tls = server(files)
    install(second, files, "server.pem")
    with capture_logs() as logs:
        assert not tls.reload_if_changed()
    assert [(log["event"], log["log_level"]) for log in logs] == [("certificates_not_reloaded", "error")]
    assert f"tls.private_key: {files / 'server.key'}" in logs[0]["problem"]
    handshake(tls.context, client_context(first / "ca.pem"))
    install(second, files, "server.key")
    assert tls.reload_if_changed()
    handshake(tls.context, client_context(second / "ca.pem"))


def test_a_worker_is_asked_for_a_certificate(first: Path) -> None:
    """With an authority configured, a worker's certificate is verified and names it, and clients need none."""
    tls = server(first, worker_ca=True)
    assert tls.verifies_workers
    end, _ = handshake(tls.context, client_context(first / "ca.pem", first / "client-lab-1"))
    assert names_in(end.getpeercert()) == {"lab-1"}
    require_worker_certificate(end.getpeercert(), "lab-1")
    end, _ = handshake(tls.context, client_context(first / "ca.pem"))
    assert names_in(end.getpeercert()) == frozenset()


@pytest.mark.parametrize("pair", ["second/client-lab-1", "first/server"])
def test_a_certificate_that_does_not_verify_is_refused(first: Path, second: Path, pair: str) -> None:
    """One of another authority, or a server's used as a worker's, ends the handshake."""
    directory, name = pair.split("/")
    path = {"first": first, "second": second}[directory] / name
    with pytest.raises(ssl.SSLError):
        handshake(server(first, worker_ca=True).context, client_context(first / "ca.pem", path))


def test_a_replaced_authority_counts_at_once(files: Path, first: Path, second: Path) -> None:
    """After a reload the new authority's workers connect and the old one's do not: it is replaced, not added."""
    tls = server(files, worker_ca=True)
    install(second, files, "ca.pem")
    assert tls.reload_if_changed()
    end, _ = handshake(tls.context, client_context(first / "ca.pem", second / "client-lab-1"))
    assert names_in(end.getpeercert()) == {"lab-1"}
    with pytest.raises(ssl.SSLError):
        handshake(tls.context, client_context(first / "ca.pem", first / "client-lab-1"))


def test_without_an_authority_nobody_is_asked(first: Path) -> None:
    """By default a certificate is not asked for, and whatever a client has is not read."""
    tls = server(first)
    assert not tls.verifies_workers
    end, _ = handshake(tls.context, client_context(first / "ca.pem", first / "client-lab-1"))
    assert not end.getpeercert()


CERTIFICATE = {
    "subject": ((("organizationName", "Lab"),), (("commonName", "lab-1"),)),
    "subjectAltName": (("DNS", "lab-1.example.com"), ("IP Address", "192.0.2.1"), ("email", "a@b")),
}


def test_a_certificate_names_workers_by_common_name_and_dns_names() -> None:
    """Other parts of the subject and other kinds of alternative name are no worker names."""
    assert names_in(CERTIFICATE) == {"lab-1", "lab-1.example.com"}


@pytest.mark.parametrize("certificate", [None, {}, {"subject": ()}])
def test_a_worker_without_a_certificate_is_told_to_bring_one(certificate: dict[str, object] | None) -> None:
    """No certificate, or one without a name, is refused with what to do."""
    with pytest.raises(Forbidden, match="show a client certificate"):
        require_worker_certificate(certificate, "lab-1")


@pytest.mark.parametrize("worker", ["lab-2", "LAB-1", "", "*", "lab-1\n"])
def test_another_workers_certificate_is_refused(worker: str) -> None:
    """A certificate is good for the worker it names, letter by letter."""
    with pytest.raises(Forbidden, match="does not name the worker"):
        require_worker_certificate(CERTIFICATE, worker)


def test_a_wildcard_in_a_certificate_is_a_plain_name() -> None:
    """`*` in a certificate does not make it good for every worker."""
    with pytest.raises(Forbidden):
        require_worker_certificate({"subject": ((("commonName", "*"),),)}, "lab-1")


@pytest.mark.parametrize("field", ["tls.certificate", "tls.private_key", "tls.worker_ca"])
@pytest.mark.parametrize("fault", ["missing", "empty", "text", "directory"])
def test_a_file_that_cannot_be_used_is_named(files: Path, field: str, fault: str) -> None:
    """The error at the start names the setting and the file."""
    path = files / {"tls.certificate": "server.pem", "tls.private_key": "server.key", "tls.worker_ca": "ca.pem"}[field]
    path.unlink()
    if fault == "empty":
        path.write_text("")
    elif fault == "text":
        path.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    elif fault == "directory":
        path.mkdir()
    with pytest.raises(FileError) as caught:
        server(files, worker_ca=True)
    assert str(path) in str(caught.value)
    assert "(None)" not in str(caught.value)  # OpenSSL has no word for a file without PEM
    assert fault in ("empty", "text") or caught.value.field == field


def test_a_key_of_another_certificate_is_named(files: Path, second: Path) -> None:
    """A key that does not fit is said to be the key's fault, with both files."""
    install(second, files, "server.key")
    with pytest.raises(
        FileError, match=r"^tls.private_key: .*server.key: is not the key of the certificate in .*server.pem$"
    ):
        server(files)


def test_an_encrypted_key_is_refused_and_not_asked_for(files: Path) -> None:
    """The gateway says that it cannot use such a key, where OpenSSL would wait at the terminal for a passphrase."""
    key = files / "server.key"
    encrypt = ["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", files / "encrypted"]
    subprocess.run(encrypt, check=True, capture_output=True, timeout=30)
    (files / "encrypted").rename(key)
    with pytest.raises(FileError, match=f"^tls.private_key: {key}: is encrypted"):
        server(files)
