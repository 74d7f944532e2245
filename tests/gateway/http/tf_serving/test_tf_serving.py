"""TensorFlow Serving's REST API and KServe's v1 over HTTP, against a worker that answers as the contract says."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from gateway import errors
from tests.support.http_gateway import Served, serving
from tests.support.tensor_worker import ROW, TENSOR, TensorDispatcher, offer

B64 = base64.b64encode(b"picture").decode()
IMAGE = {"b64": B64}
NESTED = [[[1.0], [2.0]], [[3.0], [4.0]]]
ROWS = [list(ROW)]


async def post(served: Served, path: str, document: object) -> tuple[int, Any]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    async with served.session.post(path, data=body) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize(
    ("document", "bodies", "key"),
    [
        ({"instances": [IMAGE]}, [b"picture"], "predictions"),
        ({"instances": [{"image_bytes": IMAGE}]}, [b"picture"], "predictions"),
        ({"instances": [{"image": IMAGE}], "signature_name": "serving_default"}, [b"picture"], "predictions"),
        ({"instances": [NESTED]}, [TENSOR], "predictions"),
        ({"instances": [{"image": NESTED}]}, [TENSOR], "predictions"),
        ({"inputs": IMAGE}, [b"picture"], "outputs"),
        ({"inputs": {"image": [IMAGE]}}, [b"picture"], "outputs"),
        ({"inputs": [NESTED]}, [TENSOR], "outputs"),
        ({"inputs": {"image": [NESTED]}}, [TENSOR], "outputs"),
    ],
)
async def test_predict_in_every_form(document: dict[str, object], bodies: list[bytes], key: str) -> None:
    """Images and tensors, in rows or columns, by themselves or by name; the answer has the form of the question."""
    async with serving(TensorDispatcher()) as served:
        assert await post(served, "/v1/models/pets:predict", document) == (200, {key: ROWS})
        assert served.dispatcher.bodies == bodies


async def test_many_instances_come_back_in_order() -> None:
    """Each instance is a job, and its row stands where the instance stood."""
    dispatcher = TensorDispatcher(rows={bytes([at]): (float(at), 0.0, 0.0) for at in range(20)})
    instances = [{"b64": base64.b64encode(bytes([at])).decode()} for at in range(20)]
    async with serving(dispatcher) as served:
        _, answer = await post(served, "/v1/models/pets:predict", {"instances": instances})
    assert [row[0] for row in answer["predictions"]] == list(range(20))


@pytest.mark.parametrize("key", ["predict", "classify"])
async def test_large_images(key: str) -> None:
    """An image of half a megabyte arrives as it was, and one that is not base64 is refused like a small one."""
    picture = bytes(range(256)) * 2048
    text = base64.b64encode(picture).decode()
    async with serving(TensorDispatcher()) as served:
        for given, status in ((text, 200), (text[:-1] + "!", 400), (text[:1000] + "\n" + text[1000:], 200)):
            one = {"b64": given}
            document = {"instances": [one]} if key == "predict" else {"examples": [{"image": one}]}
            found, answer = await post(served, f"/v1/models/pets:{key}", document)
            assert (found, ("error" in answer)) == (status, status == 400)
        assert served.dispatcher.bodies == [picture, picture]


@pytest.mark.parametrize("wrapped", [B64[:4] + "\n" + B64[4:], f" {B64}\r\n"])
async def test_takes_base64_in_lines(wrapped: str) -> None:
    """What a base64 tool writes is taken with its line breaks."""
    async with serving(TensorDispatcher()) as served:
        assert (await post(served, "/v1/models/pets:predict", {"instances": [{"b64": wrapped}]}))[0] == 200
        assert served.dispatcher.bodies == [b"picture"]


async def test_classify() -> None:
    """Labels with scores for each example, the likeliest first."""
    async with serving(TensorDispatcher()) as served:
        document = {"examples": [{"image": IMAGE}]}
        status, answer = await post(served, "/v1/models/pets:classify", document)
    assert (status, answer) == (200, {"results": [[["dog", 0.625], ["cat", 0.25], ["cow", 0.125]]]})


@pytest.mark.parametrize(
    "path",
    ["pets:PREDICT", "pets/versions/1:predict", "pets/Versions/0:predict", "pets/labels/stable:predict"],
)
async def test_targets(path: str) -> None:
    """Words of a path in any case; a version, 0 for the latest, or a label."""
    async with serving(TensorDispatcher()) as served:
        assert (await post(served, f"/v1/models/{path}", {"instances": [IMAGE]}))[0] == 200


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (b"{", "not JSON"),
        (b'{"instances": x}', "not JSON: Expecting value, at character 14"),
        (b"[" * 10_000, "nested too deep"),
        ({}, "either instances"),
        ({"instances": [IMAGE], "inputs": [IMAGE]}, "either instances"),
        ({"instances": IMAGE}, "not a list"),
        ({"instances": []}, "0 items"),
        ({"instances": ["cat"]}, "neither"),
        ({"instances": [{"b64": "!"}]}, "instance 0: b64 is not base64"),
        ({"instances": [{"b64": B64[:-1]}]}, "b64 is not base64"),
        ({"instances": [{"b64": 7}]}, "b64 is not a text"),
        ({"instances": [{"b64": ""}]}, "empty"),
        ({"instances": [{"x": IMAGE}]}, "there is one input, 'image'"),
        ({"instances": [[1, 2, 3, 4]]}, "not nested"),
        ({"instances": [[[[1.0], [2.0]], [[3.0]]]]}, "not nested"),
        ({"instances": [[[["a"], [2.0]], [[3.0], [4.0]]]]}, "not numbers"),
        ({"inputs": {"image": [IMAGE], "mask": [IMAGE]}}, "there is one input"),
        ({"instances": [IMAGE], "signature_name": "other"}, "no signature"),
        ({"instances": [IMAGE] * 257}, "257 items"),
    ],
)
async def test_refuses_what_does_not_add_up(document: object, text: str) -> None:
    """Each mistake is a 400 whose `error` says what was found and what is taken, and reaches no worker."""
    async with serving(TensorDispatcher()) as served:
        status, answer = await post(served, "/v1/models/pets:predict", document)
        assert (status, list(answer)) == (400, ["error"])
        assert text in answer["error"]
        assert served.dispatcher.jobs == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.BadInput("not an image"), 400),
        (errors.QueueFull("full", retry_after_s=2.0), 429),
        (errors.NoWorker("nobody", retry_after_s=2.0), 503),
        (errors.DeadlineExceeded("late"), 504),
    ],
)
async def test_failures_have_the_apis_statuses(error: errors.GatewayError, status: int) -> None:
    """What the worker or the queue says is `{"error": ...}` under the status that the API has for it."""
    async with serving(TensorDispatcher(error=error)) as served:
        expected = (status, {"error": error.detail})
        assert await post(served, "/v1/models/pets:predict", {"instances": [IMAGE]}) == expected


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("none:predict", 404),
        ("pets/versions/7:predict", 404),
        ("pets/labels/old:predict", 404),
        ("secret:predict", 403),
    ],
)
async def test_unknown_targets(path: str, status: int) -> None:
    """Models, versions and labels that there are not, and those that a token may not use."""
    async with serving(TensorDispatcher()) as served:
        found, answer = await post(served, f"/v1/models/{path}", {"instances": [IMAGE]})
    assert (found, list(answer)) == (status, ["error"])


async def test_bounds_the_body() -> None:
    """The whole JSON is within its limit."""
    async with serving(TensorDispatcher(), {"limits": {"max_json_bytes": 1024}}) as served:
        assert (await post(served, "/v1/models/pets:predict", b" " * 2000))[0] == 413


async def test_says_when_weights_mean_nothing() -> None:
    """A model that was never trained says so beside its numbers."""
    async with serving(TensorDispatcher(offers={"pets": offer(weights="random (seed 7)")})) as served:
        _, answer = await post(served, "/v1/models/pets:predict", {"instances": [IMAGE]})
    assert answer == {"predictions": ROWS, "weights": "random"}


async def test_status_is_the_union_of_both_apis() -> None:
    """TensorFlow Serving's states of versions, and KServe's name and readiness; its list of models besides."""
    version = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    dispatcher = TensorDispatcher()
    async with serving(dispatcher) as served:
        async with served.session.get("/v1/models") as answer:
            assert await answer.json() == {"models": ["pets"]}
        for path in ("pets", "pets/versions/1", "pets/versions/0", "pets/LABELS/stable"):
            async with served.session.get(f"/v1/models/{path}") as answer:
                assert await answer.json() == {"model_version_status": [version], "name": "pets", "ready": True}
        async with served.session.get("/v1/models/pets/versions/9") as answer:
            assert answer.status == 404
        dispatcher.state = "broken"
        async with served.session.get("/v1/models/pets") as answer:
            document = await answer.json()
        assert (document["ready"], document["model_version_status"][0]["state"]) == (False, "END")


async def test_metadata_is_protobufs_json() -> None:
    """One signature whose sizes are texts."""
    async with serving(TensorDispatcher()) as served, served.session.get("/v1/models/pets/metadata") as answer:
        document = await answer.json()
    assert document["model_spec"] == {"name": "pets", "signature_name": "", "version": "1"}
    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    dimensions = signature["inputs"]["image"]["tensor_shape"]["dim"]
    assert [side["size"] for side in dimensions] == ["-1", "2", "2", "1"]
    assert signature["outputs"]["probabilities"]["dtype"] == "DT_FLOAT"
