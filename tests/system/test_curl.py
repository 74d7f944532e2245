"""The curl lines that people type, with the real curl, over verified HTTPS."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway import errors
from gateway.tls import ServerTls
from tests.support.certificates import made
from tests.support.http_gateway import TOKEN, FakeDispatcher, serving

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

MANY = "curl https://$HOST/inference/xception $(for I in $(ls | tail -n 64); do echo -F $I=@$I; done)"
"""The line of a user, to work as it stands; a token and the authority of the certificate are added behind it."""


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    return made(tmp_path / "certs")


async def run(line: str, folder: Path, authority: Path, dispatcher: FakeDispatcher) -> tuple[str, Any]:
    """Status and JSON of a curl line, run in `folder` against a gateway with TLS."""
    tls = ServerTls(authority / "server.pem", authority / "server.key")
    options = f"-s --cacert {authority / 'ca.pem'} -H 'Authorization: Bearer {TOKEN}' -w '\\n%{{http_code}}'"
    async with serving(dispatcher, ssl_context=tls.context) as served:
        process = await asyncio.create_subprocess_shell(
            f"HOST=localhost:{served.port}; {line} {options}",
            cwd=folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            output, problems = await process.communicate()
    assert process.returncode == 0, problems
    body, _, status = output.decode().rpartition("\n")
    return status, json.loads(body)


async def test_the_line_for_a_folder_of_pictures(tmp_path: Path, authority: Path) -> None:
    """64 files of a folder go in with one line and come back as a list in their order, the bad one by itself."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    answers: dict[bytes, bytes | Exception] = {}
    for number in range(70):
        picture = b"\xff\xd8picture %d" % number + bytes(5000 * number)
        (folder / f"{number:03}.jpg").write_bytes(picture)
        answers[picture] = b'{"n":%d}' % number if number != 20 else errors.BadInput("not an image")
    dispatcher = FakeDispatcher(models={"xception": 1}, answers=answers)
    status, results = await run(MANY, folder, authority, dispatcher)
    assert status == "200"
    assert [result["file"] for result in results] == [f"{number:03}.jpg" for number in range(6, 70)]
    assert [result.get("n") for result in results] == [number if number != 20 else None for number in range(6, 70)]
    assert results[14]["error"] == "not an image"


@pytest.mark.parametrize(
    "how", ["--data-binary @cat.jpg", "-T cat.jpg -X POST", "-H 'Content-Type: image/jpeg' --data-binary @cat.jpg"]
)
async def test_the_line_for_one_picture(how: str, tmp_path: Path, authority: Path) -> None:
    """One picture goes in as it is, whatever curl says its type is, also when it asks before it sends a large one."""
    (tmp_path / "cat.jpg").write_bytes(bytes(3_000_000))
    dispatcher = FakeDispatcher(models={"xception": 1})
    status, result = await run(f"curl https://$HOST/inference/xception?top=1 {how}", tmp_path, authority, dispatcher)
    assert status == "200"
    assert result["worker"] == "w1"
    assert [len(body) for body in dispatcher.bodies] == [3_000_000]


async def test_a_refusal_reaches_curl(tmp_path: Path, authority: Path) -> None:
    """A picture over the limit is refused with a problem that curl shows, although it had begun to send."""
    (tmp_path / "cat.jpg").write_bytes(bytes(40 << 20))
    line = "curl https://$HOST/inference/xception --data-binary @cat.jpg"
    status, problem = await run(line, tmp_path, authority, FakeDispatcher(models={"xception": 1}))
    assert status == "413"
    assert problem["code"] == "payload_too_large"
