"""One published file, downloaded: resumed where it broke off, verified, and only then under its own name.

What has arrived is in NAME.part, beside it the ETag that says of which version; a part is continued only while the
server still has that version. Nothing unverified ever has a name that a reader would open. Proxies are those of the
environment (HTTPS_PROXY, NO_PROXY), authorities those of SSL_CERT_FILE or the system.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import requests

from edge_worker.models.catalogue import MAX_DOWNLOAD_BYTES, RemoteFile
from edge_worker.models.progress import Progress

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 60.0
"""To connect, and between two pieces: a download as a whole may take hours."""
MAX_ATTEMPTS = 20
"""Broken connections that one run continues after, each of which must have brought something."""
PIECE_BYTES = 16 << 10
"""Read at once, and what a broken connection loses at most."""
_TOTAL = re.compile(r"bytes (\d{1,15})-\d{1,15}/(\d{1,15})")


class DownloadFailed(Exception):
    """The file could not be had; the text says why, what is kept, and nothing of how to go on."""


class _Broken(Exception):
    """The connection ended before the file did."""


def download(file: RemoteFile, folder: Path, progress: Progress) -> Path:
    """The verified file in `folder`. Raises DownloadFailed."""
    target = folder / file.name
    if target.is_file() and is_right(file, target):
        return target
    part = folder / f"{file.name}.part"
    try:
        with requests.Session() as session:
            _fetch(session, file, part, progress)
    except requests.RequestException as error:
        raise DownloadFailed(f"{file.url}: {_reason(error)}{_kept(part)}") from error
    except OSError as error:
        reason = "no space left" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise DownloadFailed(f"{part}: {reason}{_kept(part)}") from error
    if not is_right(file, part):
        _forget(part)
        raise DownloadFailed(f"{file.url}: what arrived is another file: its checksum is not {file.checksum}")
    os.replace(part, target)
    _forget(part)
    return target


def is_right(file: RemoteFile, path: Path) -> bool:
    """Whether a file has the published checksum; one without a checksum is right if there is anything in it."""
    if not file.checksum:
        return path.stat().st_size > 0
    algorithm, _, expected = file.checksum.partition(":")
    with path.open("rb") as opened:  # MD5 is what Keras publishes
        found = hashlib.file_digest(opened, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    return found == expected


def _fetch(session: requests.Session, file: RemoteFile, part: Path, progress: Progress) -> None:
    """Until the part is whole. Raises DownloadFailed, RequestException or OSError."""
    for _ in range(MAX_ATTEMPTS):
        had = _size(part)
        try:
            _continue(session, file, part, progress)
            return
        except _Broken as error:
            if _size(part) <= had:
                raise DownloadFailed(f"{file.url}: {error}{_kept(part)}") from error
    raise DownloadFailed(f"{file.url}: the connection broke {MAX_ATTEMPTS} times{_kept(part)}")


def _continue(session: requests.Session, file: RemoteFile, part: Path, progress: Progress) -> None:
    """One request for what is missing; a server that cannot continue, or has another version, sends it all again."""
    tag = _tag_file(part)
    have = _size(part) if tag.is_file() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag.read_text(encoding="ascii")}
    authority = os.environ.get("SSL_CERT_FILE") or True
    timeout = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
    with session.get(file.url, headers=headers, stream=True, timeout=timeout, verify=authority) as response:
        if response.status_code == 416 and have:  # nothing comes after what is here: it is whole, or no part of this
            if response.headers.get("Content-Range", "") == f"bytes */{have}":
                return
            _forget(part)
            raise _Broken("what was here is longer than the file, and is gone; begin again")
        start, total = _extent(response, file, have)
        _check_room(part, start, total)
        _remember_version(tag, response.headers)
        with progress.of(file.name, start, total) as advance, part.open("ab" if start else "wb") as opened:
            left = (total or MAX_DOWNLOAD_BYTES) - start
            try:
                for piece in response.iter_content(PIECE_BYTES):
                    left -= len(piece)
                    if left < 0:
                        raise DownloadFailed(f"{file.url}: sends more than {total or MAX_DOWNLOAD_BYTES} bytes")
                    opened.write(piece)
                    advance(len(piece))
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                raise _Broken(_reason(error)) from error


def _extent(response: requests.Response, file: RemoteFile, have: int) -> tuple[int, int | None]:
    """Where the body begins in the file, and the file's whole length if the server says it. Raises DownloadFailed."""
    for hop in (*response.history, response):  # every one: whoever answers a plain one says what comes next
        if not hop.url.startswith("https://"):
            raise DownloadFailed(f"{file.url}: leads to {hop.url[:200]}, which is not encrypted")
    length = response.headers.get("Content-Length", "")
    start, total = 0, int(length) if re.fullmatch(r"[0-9]{1,15}", length) else None
    if response.status_code == 206:
        match = _TOTAL.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != have:
            raise DownloadFailed(f"{file.url}: the server continues at another place than it was asked to")
        start, total = have, int(match[2])
    elif response.status_code != 200:
        raise DownloadFailed(f"{file.url}: the server answers {response.status_code} {response.reason}")
    if total is not None and total > MAX_DOWNLOAD_BYTES:
        raise DownloadFailed(f"{file.url}: has {total} bytes; at most {MAX_DOWNLOAD_BYTES} are taken")
    return start, total


def _check_room(part: Path, start: int, total: int | None) -> None:
    free = shutil.disk_usage(part.parent).free + (_size(part) - start)
    if total is not None and total - start > free:
        raise OSError(errno.ENOSPC, "no space left")


def _remember_version(tag: Path, headers: Mapping[str, str]) -> None:
    """Only a strong ETag can be asked for again (RFC 9110 13.1.5); without one a later run begins anew."""
    version = headers.get("ETag", "")
    if version.startswith('"') and version.isascii() and version.isprintable():
        tag.write_text(version, encoding="ascii")
    else:
        tag.unlink(missing_ok=True)


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _kept(part: Path) -> str:
    return f"; {_size(part)} bytes of it are kept in {part}" if _size(part) else ""


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    """The innermost cause: requests wraps what happened three times over."""
    cause = error
    for _ in range(8):
        inner = [one for one in (getattr(cause, "reason", None), *cause.args) if isinstance(one, Exception)]
        if not inner:
            break
        cause = inner[0]
    return " ".join(str(cause).split())[:300] or type(error).__name__
