"""What the Open Inference Protocol tells of the server and its models."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from gateway import errors
from tests.support.http_gateway import Served, serving
from tests.support.tensor_worker import TensorDispatcher, offer

PATHS = ("/v2/models/pets", "/v2/models/pets/versions/1")


async def get(served: Served, path: str, status: int = 200) -> Any:
    async with served.session.get(path) as answer:
        assert answer.status == status, await answer.text()
        assert answer.headers["Content-Type"].startswith("application/json")
        return await answer.json()


async def test_health_needs_no_token() -> None:
    """Live and ready are asked by balancers; ready names the models' states and is 503 while the gateway drains."""
    async with (
        serving(TensorDispatcher()) as served,
        aiohttp.ClientSession(f"http://127.0.0.1:{served.port}") as anyone,
    ):
        async with anyone.get("/v2/health/live") as answer:
            assert (answer.status, await answer.json()) == (200, {"live": True})
        async with anyone.get("/v2/health/ready") as answer:
            models = {"pets": "ready", "absent": "unavailable"}
            assert (answer.status, await answer.json()) == (200, {"live": True, "ready": True, "models": models})
        served.dispatcher.is_draining = True
        async with anyone.get("/v2/health/ready") as answer:
            assert answer.status == 503
            assert (await answer.json())["error"]
        async with anyone.get("/v2") as answer:
            assert answer.status == 401


async def test_server_metadata() -> None:
    """Name, version and the extensions that work."""
    async with serving(TensorDispatcher()) as served:
        document = await get(served, "/v2")
    assert document["name"] == "edge-inference-gateway"
    assert {"binary_tensor_data", "classification", "statistics", "model_configuration"} <= set(document["extensions"])


@pytest.mark.parametrize("path", PATHS)
async def test_model_metadata(path: str) -> None:
    """One input and one output, as the worker announces them."""
    async with serving(TensorDispatcher()) as served:
        assert await get(served, path) == {
            "name": "pets",
            "versions": ["1"],
            "platform": "opencv_dnn",
            "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 2, 2, 1]}],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}],
        }


@pytest.mark.parametrize("path", PATHS)
async def test_model_ready(path: str) -> None:
    """200 while a worker is ready for the model, else 503 with a reason."""
    async with serving(TensorDispatcher()) as served:
        assert await get(served, f"{path}/ready") == {"name": "pets", "ready": True}
        served.dispatcher.models["pets"] = 0
        document = await get(served, f"{path}/ready", 503)
        assert (document["ready"], "no worker is ready" in document["error"]) == (False, True)


@pytest.mark.parametrize("path", PATHS)
async def test_model_config(path: str) -> None:
    """Triton's configuration: dimensions without the batch, and the most images of a request as the batch."""
    async with serving(TensorDispatcher(), {"limits": {"max_parts": 40}}) as served:
        document = await get(served, f"{path}/config")
    given = {"name": "image", "data_type": "TYPE_FP32", "format": "FORMAT_NHWC", "dims": [2, 2, 1]}
    assert (document["max_batch_size"], document["input"]) == (40, [given])
    assert (document["output"][0]["dims"], document["output"][0]["label_filename"]) == ([3], "labels.txt")
    assert document["backend"] == "opencv_dnn"


async def test_statistics_count_every_api() -> None:
    """Images are counted whichever API asked, failures apart, their times by phase; a made-up name is not counted."""
    dispatcher = TensorDispatcher(answers={b"bad": errors.BadInput("not an image")})
    async with serving(dispatcher) as served:
        async with served.session.post(
            "/v2/models/pets/infer", data=b"a", headers={"Inference-Header-Content-Length": "0"}
        ):
            pass
        for body in (b"a", b"bad"):
            async with served.session.post("/inference/pets", data=body):
                pass
        async with served.session.post("/inference/none", data=b"a"):
            pass
        (every,) = (await get(served, "/v2/models/stats"))["model_stats"]
        for path in PATHS:
            assert (await get(served, f"{path}/stats"))["model_stats"] == [every]
    stats = every["inference_stats"]
    assert (every["name"], every["version"], every["inference_count"], every["execution_count"]) == ("pets", "1", 2, 2)
    assert every["last_inference"] > 1_600_000_000_000
    assert [stats[name]["count"] for name in ("success", "fail", "queue", "cache_hit")] == [2, 1, 2, 0]
    assert stats["queue"]["ns"] == 2 * 11_000_000  # queue and worker_queue
    assert stats["compute_input"]["ns"] == 2 * 35_000_000  # tunnel_out, decode, preprocess
    assert stats["compute_infer"]["ns"] == 2 * 4_000_000
    assert stats["compute_output"]["ns"] == 2 * 65_000_000  # postprocess, tunnel_back
    assert [batch["batch_size"] for batch in every["batch_stats"]] == [1]


async def test_statistics_tell_of_batches() -> None:
    """Images that were computed together are one execution, and have an entry of their own."""
    dispatcher = TensorDispatcher(answers={b"a": b'{"predictions": [], "batch_size": 2}'})
    async with serving(dispatcher) as served:
        for _ in range(4):
            async with served.session.post("/inference/pets", data=b"a"):
                pass
        (entry,) = (await get(served, "/v2/models/pets/stats"))["model_stats"]
    assert (entry["inference_count"], entry["execution_count"]) == (4, 2)
    assert entry["batch_stats"][0]["batch_size"] == 2
    assert entry["batch_stats"][0]["compute_infer"] == {"count": 4, "ns": 16_000_000}


async def post(served: Served, path: str, body: bytes = b"") -> tuple[int, Any]:
    async with served.session.post(path, data=body) as answer:
        return answer.status, await answer.json()


async def test_repository_index() -> None:
    """Each announced version with its state; the body may be empty, or ask for the ready ones alone."""
    async with serving(TensorDispatcher()) as served:
        entry = {"name": "pets", "version": "1", "state": "READY", "reason": ""}
        for body in (b"", b"{}", json.dumps({"ready": True}).encode()):
            assert await post(served, "/v2/repository/index", body) == (200, [entry])
        served.dispatcher.state = "probing"
        assert (await post(served, "/v2/repository/index"))[1][0]["state"] == "LOADING"
        assert await post(served, "/v2/repository/index", b'{"ready": true}') == (200, [])
        assert (await post(served, "/v2/repository/index", b"{"))[0] == 400
        assert (await post(served, "/v2/repository/index", b" " * 70_000))[0] == 413


async def test_load_says_whether_a_model_can_be_used() -> None:
    """Models are loaded at workers: 200 for one that is ready, 503 and 404 for others; unloading is not offered."""
    async with serving(TensorDispatcher()) as served:
        load = "/v2/repository/models/{}/load"
        assert await post(served, load.format("pets")) == (200, {})
        assert (await post(served, load.format("absent")))[0] == 503
        assert (await post(served, load.format("none")))[0] == 404
        assert (await post(served, load.format("pets"), b'{"parameters": {"config": "{}"}}'))[0] == 501
        status, document = await post(served, "/v2/repository/models/pets/unload")
        assert (status, "stop the worker" in document["error"]) == (501, True)


async def test_a_model_is_only_shown_to_who_may_use_it() -> None:
    """A token without the model's scope learns nothing of it."""
    async with serving(TensorDispatcher()) as served:
        for path in ("", "/ready", "/config", "/stats"):
            assert (await get(served, f"/v2/models/secret{path}", 403)).keys() == {"error"}


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v2/models/none", 404), ("/v2/models/pets/versions/9", 404), ("/v2/models/absent", 503), ("/v2/none", 404)],
)
async def test_what_is_not_there_is_said_in_json(path: str, status: int) -> None:
    """Unknown models, versions and paths have the clients' form of error."""
    async with serving(TensorDispatcher()) as served:
        assert (await get(served, path, status)).keys() == {"error"}


async def test_a_model_without_tensors_has_neither_inputs_nor_a_configuration() -> None:
    """What a worker announces as no tensor, or as nonsense, is as if it were not announced."""
    for said in ({"datatype": "INT8"}, {"datatype": "FP32", "shape": [-1, 0]}, {"datatype": "FP32", "shape": "x"}, 7):
        async with serving(TensorDispatcher(offers={"pets": offer(input=said)})) as served:
            assert (await get(served, "/v2/models/pets"))["inputs"] == []
            assert (await get(served, "/v2/models/pets/config", 501))["error"]
