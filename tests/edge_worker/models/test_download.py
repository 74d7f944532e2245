"""One file over a network that breaks, with a server that forgets: what arrives is whole and right, or is not there."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from edge_worker.models import download as downloading
from edge_worker.models.catalogue import RemoteFile
from edge_worker.models.download import MAX_ATTEMPTS, PIECE_BYTES, DownloadFailed, download
from edge_worker.models.progress import Lines
from tests.support.connect_proxy import connect_proxy
from tests.support.file_server import FileServer, file_server

CONTENT = random.Random(1).randbytes(300_000)
BREAK = 6 * PIECE_BYTES
"""Where a connection breaks in these tests: what is short of a piece is lost."""
OTHER = random.Random(2).randbytes(300_000)


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def remote(server: FileServer, checksum: str = sha256(CONTENT)) -> RemoteFile:
    server.files.setdefault("network.zip", CONTENT)
    return RemoteFile(f"{server.url}/models/network.zip", checksum)


def get(file: RemoteFile, folder: Path) -> Path:
    return download(file, folder, Lines(io.StringIO()))


def assert_nothing_in_place(folder: Path) -> None:
    assert not (folder / "network.zip").exists()


def test_a_file_arrives(published: FileServer, tmp_path: Path) -> None:
    """Whole, under its name, and with nothing left beside it."""
    path = get(remote(published), tmp_path)
    assert path.read_bytes() == CONTENT
    assert [one.name for one in tmp_path.iterdir()] == ["network.zip"]


def test_what_is_there_is_not_asked_for(published: FileServer, tmp_path: Path) -> None:
    """A second call verifies the file, and asks nobody."""
    get(remote(published), tmp_path)
    get(remote(published), tmp_path)
    assert len(published.asked) == 1


def test_what_is_there_and_wrong_is_replaced(published: FileServer, tmp_path: Path) -> None:
    """A file that somebody changed is downloaded again."""
    (tmp_path / "network.zip").write_bytes(OTHER)
    assert get(remote(published), tmp_path).read_bytes() == CONTENT


def test_a_broken_connection_is_continued(published: FileServer, tmp_path: Path) -> None:
    """Each further request asks for the rest, of the same version."""
    published.breaks_at = [BREAK, 3 * PIECE_BYTES]
    assert get(remote(published), tmp_path).read_bytes() == CONTENT
    assert [one.get("range") for one in published.asked] == [
        None,
        f"bytes={BREAK}-",
        f"bytes={BREAK + 3 * PIECE_BYTES}-",
    ]
    assert published.asked[1]["if-range"] == '"1"'


def test_a_connection_that_brings_nothing_ends_it(published: FileServer, tmp_path: Path) -> None:
    """It is not tried for ever, and what came is kept for another run, which asks for the rest alone."""
    published.breaks_at = [BREAK, 0]
    with pytest.raises(DownloadFailed, match=rf"{BREAK} bytes of it are kept in .*network\.zip\.part"):
        get(remote(published), tmp_path)
    assert_nothing_in_place(tmp_path)
    assert get(remote(published), tmp_path).read_bytes() == CONTENT
    assert published.asked[-1]["range"] == f"bytes={BREAK}-"


def test_the_number_of_attempts_is_bounded(published: FileServer, tmp_path: Path) -> None:
    """A server that gives a piece at a time is given up."""
    published.files["network.zip"] = bytes((MAX_ATTEMPTS + 5) * PIECE_BYTES)
    published.breaks_at = [PIECE_BYTES] * (MAX_ATTEMPTS + 5)
    with pytest.raises(DownloadFailed, match=f"broke {MAX_ATTEMPTS} times"):
        get(remote(published), tmp_path)
    assert len(published.asked) == MAX_ATTEMPTS


def test_a_server_without_ranges_sends_it_all_again(published: FileServer, tmp_path: Path) -> None:
    """Its whole answer takes the place of the part, and is not put behind it."""
    published.knows_ranges = False
    published.breaks_at = [BREAK]
    assert get(remote(published), tmp_path).read_bytes() == CONTENT


def test_another_version_is_begun_anew(published: FileServer, tmp_path: Path) -> None:
    """If-Range keeps two versions from being mixed into one file."""
    published.files["network.zip"], published.etag = OTHER, '"0"'
    published.breaks_at = [BREAK, 0]
    with pytest.raises(DownloadFailed):
        get(remote(published), tmp_path)
    published.files["network.zip"], published.etag = CONTENT, '"1"'
    assert get(remote(published), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ["", 'W/"1"'])
def test_without_a_strong_etag_another_run_begins_anew(published: FileServer, tmp_path: Path, etag: str) -> None:
    """Nobody could say whether the part belongs to what is there now."""
    published.etag = etag
    published.breaks_at = [BREAK, 0]
    with pytest.raises(DownloadFailed):
        get(remote(published), tmp_path)
    assert get(remote(published), tmp_path).read_bytes() == CONTENT
    assert "range" not in published.asked[-1]


def test_a_whole_part_needs_only_its_name(published: FileServer, tmp_path: Path) -> None:
    """A run that was stopped between the last byte and the new name is finished by the next."""
    (tmp_path / "network.zip.part").write_bytes(CONTENT)
    (tmp_path / "network.zip.part.etag").write_text('"1"')
    assert get(remote(published), tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_dropped(published: FileServer, tmp_path: Path) -> None:
    """It is no part of this file; the next run begins anew."""
    (tmp_path / "network.zip.part").write_bytes(CONTENT + b"more")
    (tmp_path / "network.zip.part.etag").write_text('"1"')
    with pytest.raises(DownloadFailed, match="longer than the file"):
        get(remote(published), tmp_path)
    assert get(remote(published), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("says_length", [True, False])
def test_another_file_is_refused(published: FileServer, tmp_path: Path, says_length: bool) -> None:
    """What has not the published checksum gets no name, and is not kept to be continued."""
    published.files["network.zip"] = OTHER[:200_000]
    published.says_length = says_length
    with pytest.raises(DownloadFailed, match="its checksum is not sha256:"):
        get(remote(published), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_part_that_was_changed_is_not_continued_for_ever(published: FileServer, tmp_path: Path) -> None:
    """The result is wrong, and dropped; the next run begins anew."""
    (tmp_path / "network.zip.part").write_bytes(OTHER[:1000])
    (tmp_path / "network.zip.part.etag").write_text('"1"')
    with pytest.raises(DownloadFailed, match="another file"):
        get(remote(published), tmp_path)
    assert get(remote(published), tmp_path).read_bytes() == CONTENT


def test_a_file_without_a_checksum_is_bound_to_its_length(published: FileServer, tmp_path: Path) -> None:
    """A short answer is not taken for the file."""
    published.breaks_at = [BREAK, 0]
    with pytest.raises(DownloadFailed, match="bytes of it are kept"):
        get(remote(published, ""), tmp_path)
    assert get(remote(published, ""), tmp_path).read_bytes() == CONTENT


def test_a_file_that_is_not_there_is_named(published: FileServer, tmp_path: Path) -> None:
    """With its address and the server's answer."""
    with pytest.raises(DownloadFailed, match=r"/models/gone\.zip: the server answers 404 Not Found"):
        get(RemoteFile(f"{published.url}/models/gone.zip", ""), tmp_path)


def test_nothing_unencrypted_is_followed(published: FileServer, tmp_path: Path) -> None:
    """A redirection to plain HTTP is refused."""
    with file_server(None) as plain:
        plain.files["network.zip"] = CONTENT
        published.redirect = f"{plain.url}/network.zip"
        with pytest.raises(DownloadFailed, match="which is not encrypted"):
            get(remote(published), tmp_path)
    assert_nothing_in_place(tmp_path)


def test_no_hop_on_the_way_is_unencrypted(published: FileServer, tmp_path: Path) -> None:
    """Whoever answers a plain request says where it goes on, even if that is encrypted again."""
    with file_server(None) as plain:
        plain.redirect = f"{published.url}/whole/network.zip"
        published.redirect_of = {"/network.zip": f"{plain.url}/network.zip"}
        with pytest.raises(DownloadFailed, match="which is not encrypted"):
            get(RemoteFile(f"{published.url}/network.zip", ""), tmp_path)
    assert_nothing_in_place(tmp_path)


def test_a_certificate_of_nobody_is_refused(
    published: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the authority nothing is taken."""
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(DownloadFailed, match="certificate verify failed"):
        get(remote(published), tmp_path)


def test_without_a_network_the_reason_is_short(tmp_path: Path, published: FileServer) -> None:
    """Not the three exceptions that are wrapped around it."""
    with pytest.raises(DownloadFailed) as caught:
        get(RemoteFile("https://localhost:1/network.zip", ""), tmp_path)
    assert "Connection refused" in str(caught.value)
    assert "Max retries" not in str(caught.value)


def test_a_proxy_is_asked(published: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY, by CONNECT and with its name and password; the file is as encrypted as without it."""
    with connect_proxy("carol", "p@ss") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url("carol:p%40ss"))
        assert get(remote(published), tmp_path).read_bytes() == CONTENT
        assert proxy.tunnelled == [published.url.removeprefix("https://")]


def test_a_full_disk_is_seen_before_it_is_full(
    published: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's length is compared with what is free."""
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DownloadFailed, match="no space left"):
        get(remote(published), tmp_path)
    assert_nothing_in_place(tmp_path)


def test_a_disk_that_fills_keeps_the_part(
    published: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else took the room: what is written stays, and is continued when there is room again."""
    file = remote(published)
    with monkeypatch.context() as full:
        full.setattr(Path, "open", opener_of_small_disk(BREAK + 1))
        with pytest.raises(DownloadFailed, match=f"no space left; {BREAK} bytes of it are kept"):
            get(file, tmp_path)
    assert_nothing_in_place(tmp_path)
    assert get(file, tmp_path).read_bytes() == CONTENT
    assert published.asked[-1]["range"] == f"bytes={BREAK}-"


def opener_of_small_disk(room: int) -> Any:
    real = Path.open

    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            if self.tell() + len(data) > room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    def opened(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        return Full(path, mode) if mode in ("wb", "ab") else real(path, mode, *rest, **more)

    return opened


def test_more_than_was_announced_is_refused(
    published: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that says nothing of a length cannot fill the disk."""
    monkeypatch.setattr(downloading, "MAX_DOWNLOAD_BYTES", 100_000)
    with pytest.raises(DownloadFailed, match="at most 100000 are taken"):
        get(remote(published), tmp_path)
    published.says_length = False
    with pytest.raises(DownloadFailed, match="sends more than 100000 bytes"):
        get(remote(published), tmp_path)
    assert_nothing_in_place(tmp_path)


def test_progress_is_told_in_lines(published: FileServer, tmp_path: Path) -> None:
    """At each tenth, and from where it was continued."""
    published.breaks_at = [150_000]
    out = io.StringIO()
    download(remote(published), tmp_path, Lines(out))
    lines = out.getvalue().splitlines()
    assert lines[0] == "network.zip: 0.0 of 0.3 MB"
    assert lines[-1] == "network.zip: 0.3 of 0.3 MB"
    assert len(lines) <= 13
