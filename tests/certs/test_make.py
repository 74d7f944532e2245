"""certs/make.sh: the development authority and its certificates."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from tests.support.certificates import client_context, handshake, made, make


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run with a name, an address and a worker, for all tests that only look."""
    return made(tmp_path_factory.mktemp("made"), "--client", "lab-1", "gw.example.com", "203.0.113.7")


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def server_context(certificates: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    return context


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "gw.example.com", "203.0.113.7"])
def test_a_strict_client_accepts_each_name(certificates: Path, name: str) -> None:
    """A client that trusts the authority and checks strictly, as Python 3.13 does, connects by each name asked for."""
    _, client = handshake(server_context(certificates), client_context(certificates / "ca.pem"), name)
    assert client.version() == "TLSv1.3"


@pytest.mark.parametrize("name", ["gw2.example.com", "203.0.113.8"])
def test_another_name_is_refused(certificates: Path, name: str) -> None:
    """The certificate is for the names asked for and no other."""
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(server_context(certificates), client_context(certificates / "ca.pem"), name)


def test_who_does_not_trust_the_authority_is_safe(certificates: Path, tmp_path: Path) -> None:
    """Two runs in two places make two authorities: neither's clients accept the other's server."""
    other = made(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server_context(certificates), client_context(other / "ca.pem"))


def test_files_have_the_modes_they_need(certificates: Path) -> None:
    """Keys are for their owner alone, certificates for everyone, and nothing else is left behind."""
    modes = {path.name: path.stat().st_mode & 0o777 for path in certificates.iterdir()}
    pairs = ("ca", "server", "client-lab-1")
    assert modes == {f"{one}.key": 0o600 for one in pairs} | {f"{one}.pem": 0o644 for one in pairs}


def test_the_authority_can_sign_leaves_only(certificates: Path) -> None:
    """What RFC 5280 wants of an authority is there and critical, and it cannot make another authority."""
    authority = read(certificates / "ca.pem")
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = authority.extensions.get_extension_for_class(x509.KeyUsage)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (True, True, False)


@pytest.mark.parametrize(
    ("file", "use"),
    [("server", ExtendedKeyUsageOID.SERVER_AUTH), ("client-lab-1", ExtendedKeyUsageOID.CLIENT_AUTH)],
)
def test_a_leaf_is_for_one_use(certificates: Path, file: str, use: x509.ObjectIdentifier) -> None:
    """A server's certificate is no worker's and the other way round, and neither can sign certificates."""
    extensions = read(certificates / f"{file}.pem").extensions
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [use]
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


@pytest.mark.parametrize("file", ["ca", "server", "client-lab-1"])
def test_keys_are_p256_and_identified(certificates: Path, file: str) -> None:
    """Each certificate has a P-256 key and the key identifiers that strict verifiers look for."""
    certificate = read(certificates / f"{file}.pem")
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    for identifier in (ExtensionOID.SUBJECT_KEY_IDENTIFIER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER):
        assert certificate.extensions.get_extension_for_oid(identifier)


def serials(directory: Path) -> dict[str, int]:
    return {path.name: read(path).serial_number for path in directory.glob("*.pem")}


def test_a_second_run_keeps_what_is_good(tmp_path: Path) -> None:
    """The same names again, or fewer, change nothing; a new name makes a new server certificate of the same authority;
    a new worker leaves the others alone."""
    first = serials(made(tmp_path, "--client", "a", "gw.example.com"))
    assert serials(made(tmp_path, "--client", "a", "gw.example.com")) == first
    assert serials(made(tmp_path)) == first
    more = serials(made(tmp_path, "--client", "b", "other.example.com"))
    assert {name for name in more if more[name] != first.get(name)} == {"server.pem", "client-b.pem"}


def test_a_broken_file_is_made_again(tmp_path: Path) -> None:
    """A certificate that was truncated, or whose key is another one, is replaced; the authority stays."""
    first = serials(made(tmp_path, "--client", "a"))
    (tmp_path / "server.pem").write_text("")
    (tmp_path / "client-a.key").write_bytes((tmp_path / "ca.key").read_bytes())
    second = serials(made(tmp_path, "--client", "a"))
    assert second["ca.pem"] == first["ca.pem"]
    assert second["server.pem"] != first["server.pem"]
    assert second["client-a.pem"] != first["client-a.pem"]
    handshake(server_context(tmp_path), client_context(tmp_path / "ca.pem"))


def test_the_authority_is_never_replaced_for_a_lost_key(tmp_path: Path) -> None:
    """When the authority's key was moved away the script stops: a new one would cut off all who trust this one."""
    first = serials(made(tmp_path))
    (tmp_path / "ca.key").unlink()
    done = make(tmp_path, "--client", "a")
    assert done.returncode == 1
    assert "put the key back" in done.stderr
    assert serials(tmp_path) == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--what"], "unknown option --what"),
        (["--client"], "--client needs a name"),
        (["--client", "../x"], "'../x' is no worker name"),
        (["--client", "x" * 65], "is no worker name"),
        (["a,DNS:evil.example.com"], "is neither a host name nor an address"),
        (["two\nlines"], "is neither a host name nor an address"),
        ([""], "is neither a host name nor an address"),
    ],
)
def test_a_wrong_command_line_makes_nothing(tmp_path: Path, arguments: list[str], message: str) -> None:
    """The error says what is wrong, the exit code is 2, and no file is written."""
    done = make(tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_address_that_is_none_leaves_no_certificate(tmp_path: Path) -> None:
    """What passes the first look and openssl refuses is an error too, without a half-made pair."""
    done = make(tmp_path, "999.999.999.999")
    assert done.returncode != 0
    assert not (tmp_path / "server.pem").exists()
