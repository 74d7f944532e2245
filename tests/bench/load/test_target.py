"""What is wrong with an address, a CA, a token or a folder is said before a run, with what to do."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.load import target
from bench.load.target import SAMPLES, read_pictures, read_token, request_url, tls_context


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("https://host:8443", "https://host:8443/inference/digits"),
        ("http://host/", "http://host/inference/digits"),
        ("https://host?top=1", "https://host/inference/digits?top=1"),
        ("https://host/v2/models/x/infer", "https://host/v2/models/x/infer"),
    ],
)
def test_an_address_without_a_path_is_a_gateway(url: str, whole: str) -> None:
    """One with a path is taken as it is."""
    assert request_url(url, "digits") == whole


@pytest.mark.parametrize(
    "url", ["", "host:8443", "ftp://host", "https://", "https://[", "http://host:99999", "http://host:0"]
)
def test_what_is_no_address(url: str) -> None:
    """Refused, with what an address looks like."""
    with pytest.raises(BenchError, match="is not an address: give http"):
        request_url(url, "digits")


def test_a_bad_ca(tmp_path: Path) -> None:
    """A file that is missing, or holds no certificate, is named."""
    (tmp_path / "ca.pem").write_text("hello")
    for file in (tmp_path / "none.pem", tmp_path / "ca.pem"):
        with pytest.raises(BenchError, match=f"cannot use .*{file.name} as a CA"):
            tls_context("https://host/", file)
    assert tls_context("http://host/", tmp_path / "none.pem") is None


def test_tls_is_verified() -> None:
    """Name and certificate are checked, always."""
    context = tls_context("https://host/", None)
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_where_a_token_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that is named, else the environment, else the fallback if it exists, else none."""
    (tmp_path / "named").write_text("one\n")
    (tmp_path / "demo").write_text("three\n")
    monkeypatch.setenv("BENCH_TOKEN", "two")
    assert read_token(tmp_path / "named", tmp_path / "demo") == "one"
    assert read_token(None, tmp_path / "demo") == "two"
    monkeypatch.delenv("BENCH_TOKEN")
    assert read_token(None, tmp_path / "demo") == "three"
    assert read_token(None, tmp_path / "none") == read_token(None) == ""


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"a\nb", b"\xff"])
def test_a_bad_token_file(tmp_path: Path, content: bytes) -> None:
    """A file that holds no token is named, and what it holds is not shown."""
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(BenchError, match=f"{tmp_path}/t"):
        read_token(tmp_path / "t")
    with pytest.raises(BenchError, match="cannot read the token"):
        read_token(tmp_path / "none")


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    """By name, with their types; other files are passed over. A single file will do."""
    for name in ("b.JPG", "a.png", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "folder.png").mkdir()
    found = read_pictures(tmp_path)
    assert [(one.name, one.content_type) for one in found] == [("a.png", "image/png"), ("b.JPG", "image/jpeg")]
    assert len(read_pictures(tmp_path / "a.png")) == 1
    assert len(read_pictures(SAMPLES)) == 10


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    """Says which endings it looked for; a folder that is not there is another error."""
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(BenchError, match=r"has no picture: none of its files ends in \.png"):
        read_pictures(tmp_path)
    with pytest.raises(BenchError, match="there is no"):
        read_pictures(tmp_path / "none")


def test_more_pictures_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder over the limit is refused before it is read."""
    monkeypatch.setattr(target, "MAX_PICTURES_BYTES", 10)
    (tmp_path / "a.png").write_bytes(bytes(11))
    with pytest.raises(BenchError, match="over 10 bytes"):
        read_pictures(tmp_path)
