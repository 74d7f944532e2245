"""TorchServe's /predictions and /ping."""

from __future__ import annotations

import aiohttp
import pytest

from gateway import errors
from tests.support.http_gateway import serving
from tests.support.tensor_worker import TensorDispatcher


def form(**fields: bytes) -> aiohttp.FormData:
    """A form of files."""
    made = aiohttp.FormData()
    for name, content in fields.items():
        made.add_field(name, content, filename=f"{name}.jpg")
    return made


@pytest.mark.parametrize("path", ["/predictions/pets", "/predictions/pets/1"])
async def test_answers_labels_and_probabilities(path: str) -> None:
    """The raw body is one image; the answer is an object, the likeliest first."""
    async with serving(TensorDispatcher()) as served:
        async with served.session.post(f"{path}?top=2", data=b"picture") as answer:
            assert answer.status == 200
            assert list((await answer.json()).items()) == [("dog", 0.625), ("cat", 0.25)]
        assert served.dispatcher.bodies == [b"picture"]


async def test_takes_the_field_data_of_a_form() -> None:
    """A form's field `data` is the image; another field, or two, are refused."""
    async with serving(TensorDispatcher()) as served:
        async with served.session.post("/predictions/pets", data=form(data=b"picture")) as answer:
            assert (await answer.json())["dog"] == 0.625
        assert served.dispatcher.bodies == [b"picture"]
        for fields in ({"image": b"picture"}, {"data": b"one", "more": b"two"}):
            async with served.session.post("/predictions/pets", data=form(**fields)) as answer:
                assert answer.status == 400
                assert "one is taken, named data" in (await answer.json())["error"]
        assert b"two" not in served.dispatcher.bodies


async def test_errors_have_its_members() -> None:
    """`code`, `type` and `message` are what its clients read; `error` is there as with every other API."""
    dispatcher = TensorDispatcher(answers={b"bad": errors.BadInput("not an image")})
    async with serving(dispatcher) as served:
        for data in (b"bad", form(data=b"bad")):
            async with served.session.post("/predictions/pets", data=data) as answer:
                expected = {"code": 400, "type": "bad_input", "message": "not an image", "error": "not an image"}
                assert (answer.status, await answer.json()) == (400, expected)
        for path, status in (("/predictions/none", 404), ("/predictions/pets/2", 404), ("/predictions/secret", 403)):
            async with served.session.post(path, data=b"picture") as answer:
                assert (answer.status, (await answer.json())["code"]) == (status, status)


async def test_ping_needs_no_token() -> None:
    """Healthy, until the gateway drains."""
    async with (
        serving(TensorDispatcher()) as served,
        aiohttp.ClientSession(f"http://127.0.0.1:{served.port}") as anyone,
    ):
        async with anyone.get("/ping") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "Healthy"})
        served.dispatcher.is_draining = True
        async with anyone.get("/ping") as answer:
            assert answer.status == 503
