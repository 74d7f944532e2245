"""Requests to a gateway: some pictures in, a reply for each out. Whatever goes wrong is a reply too.

One picture is the body as it is; several are multipart, answered by a list in the order sent. Knows nothing of trying
again but what the answer says of it.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol

import aiohttp

from bench.classification.folder import Picture
from bench.classification.retry import RETRIED, retry_after_s
from bench.classification.score import Prediction
from bench.load.target import Target
from bench.load.transport import detail_of, reason_of

MAX_ANSWER_BYTES = 64 << 20
FINAL = frozenset({401, 403, 404, 405, 421})
"""What no other picture will be answered differently."""
SETUP = frozenset({"dns", "tls", "not_http"})
"""What is wrong with the address and does not mend by itself."""
LOST = frozenset({"timeout", "refused", "closed", "reset", "cut_off"})
"""What a gateway that restarts does to a connection."""


@dataclass(frozen=True)
class Reply:
    """For one picture."""

    predictions: Sequence[Prediction] = ()
    worker: str = ""
    status: int = 0
    """Of HTTP, of the picture's own entry in a list; 0 without an answer."""
    reason: str = ""
    """'' for success."""
    detail: str = ""
    retry_after_s: float | None = None

    @property
    def is_retried(self) -> bool:
        """Whether another try makes sense."""
        return bool(self.reason) and (self.status in RETRIED or (self.status == 0 and self.reason in LOST))

    @property
    def is_final(self) -> bool:
        """Whether the next picture would meet the same."""
        return bool(self.reason) and (self.status in FINAL or (self.status == 0 and self.reason in SETUP))


class Gateway(Protocol):
    """Where pictures are sent. A fake one serves the tests."""

    async def classify(self, pictures: Sequence[Picture]) -> list[Reply]:
        """One request; as many replies as pictures, in their order. Never raises but when cancelled."""


class HttpGateway:
    """A gateway over HTTP. Use as an async context manager."""

    def __init__(self, target: Target, timeout_s: float) -> None:
        """`target`: its pictures are not looked at; `timeout_s`: of a request."""
        self._target = target
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> HttpGateway:
        headers = {"User-Agent": "edge-bench", "Accept": "application/json", **self._target.headers}
        if self._target.token:
            headers["Authorization"] = f"Bearer {self._target.token}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._target.tls or True),
            headers=headers,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def classify(self, pictures: Sequence[Picture]) -> list[Reply]:
        """As the protocol says. A file that cannot be read fails alone, and the others are sent."""
        bodies = [_read(picture) for picture in pictures]
        sent = [(picture, body) for picture, body in zip(pictures, bodies, strict=True) if isinstance(body, bytes)]
        replies = iter(await self._post(sent) if sent else ())
        return [body if isinstance(body, Reply) else next(replies) for body in bodies]

    async def _post(self, sent: Sequence[tuple[Picture, bytes]]) -> list[Reply]:
        (picture, body), *others = sent
        data = _form(sent) if others else io.BytesIO(body)
        headers = {} if others else {"Content-Type": picture.content_type}
        status = 0
        try:
            async with self._session.post(
                self._target.url, data=data, headers=headers, allow_redirects=False
            ) as response:
                status = response.status
                answer = await _read_answer(response)
        except (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            return [Reply(reason=reason_of(error), detail=detail_of(error))] * len(sent)
        except ValueError as error:
            return [Reply(reason="not_json", detail=str(error), status=status)] * len(sent)
        if status == 200:
            return replies_of(answer, len(sent))
        return [_refusal(status, answer, response.headers)] * len(sent)


def replies_of(answer: object, count: int) -> list[Reply]:
    """From what a gateway answered with 200: an object for one picture, a list for several."""
    entries = answer if isinstance(answer, list) else [answer]
    if len(entries) != count:
        return [Reply(status=200, reason="bad_answer", detail=f"{len(entries)} answers for {count} pictures")] * count
    return [_reply(entry) for entry in entries]


def _reply(entry: object) -> Reply:
    if not isinstance(entry, dict):
        return Reply(status=200, reason="bad_answer", detail="an entry is no object")
    status = entry.get("status", 200)
    if "code" in entry and isinstance(status, int):
        return _refusal(status, entry, {})
    worker = str(entry.get("worker", ""))
    try:
        predictions = tuple(
            Prediction(int(one["index"]), str(one["label"]), float(one["probability"])) for one in entry["predictions"]
        )
    except (KeyError, TypeError, ValueError):
        return Reply(worker=worker, status=200, reason="no_predictions", detail="is the model a classifier?")
    return Reply(predictions, worker, 200)


def _refusal(status: int, answer: object, headers: Mapping[str, str]) -> Reply:
    """From a problem document (docs/reference/errors.md), or from whatever else a server says."""
    members = answer if isinstance(answer, dict) else {}
    return Reply(
        status=status,
        reason=str(members.get("code") or f"http_{status}"),
        detail=str(members.get("detail") or headers.get("Location", "")),
        retry_after_s=retry_after_s(headers.get("Retry-After"), datetime.now(UTC)),
    )


def _read(picture: Picture) -> bytes | Reply:
    try:
        return picture.path.read_bytes()
    except OSError as error:
        return Reply(reason="unreadable", detail=error.strerror or str(error))


def _form(sent: Sequence[tuple[Picture, bytes]]) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for place, (picture, body) in enumerate(sent):
        # its place for a name: the answer is in this order, and no name of a file can upset a header
        form.add_field("image", io.BytesIO(body), filename=str(place), content_type=picture.content_type)
    return form


async def _read_answer(response: aiohttp.ClientResponse) -> object:
    """The JSON of any answer, the text of a failed one that is none. Raises ValueError."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise ValueError(f"an answer of over {MAX_ANSWER_BYTES} bytes")
    try:
        return json.loads(body)
    except ValueError:
        text = bytes(body[:200]).decode("utf-8", "replace").strip()
        if response.status == 200:
            raise ValueError(f"the answer is not JSON: {text!r}") from None
        return {"detail": text}
