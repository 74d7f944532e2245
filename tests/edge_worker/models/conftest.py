"""A file server with a certificate of the development authority, which what downloads is told to believe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import certificates
from tests.support.file_server import FileServer, file_server


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates.made(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def published(pki: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """The server; the environment has its authority and no proxy."""
    for name in (
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(pki / "ca.pem"))
    with file_server(pki) as server:
        yield server
