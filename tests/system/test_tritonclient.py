"""Triton's own HTTP clients, sync and aio, over verified HTTPS with a bearer token, against real processes."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from demo.stack import REPOSITORY, Stack
from tests.support.data import model_dir, photographs

PICTURES = [path.read_bytes() for path in sorted((REPOSITORY / "edge_worker/models/digits/samples").glob("*.png"))]
"""One of each digit, in order."""
OUTPUT = "probabilities"
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[str], Stack]) -> Stack:
    """A gateway and two workers with the digits. They work in turns: the default policy may leave one of two that share
    this machine's cores without work."""
    stack = new_stack("tritonclient")
    stack.start_gateway(DISPATCH__POLICY="round_robin")
    for name in ("worker-1", "worker-2"):
        stack.start_worker(name)
    stack.wait_ready("digits", 2)
    return stack


@pytest.fixture
def headers(stack: Stack) -> dict[str, Any]:
    """A dictionary that calls may change, as `infer` does."""
    return {"Authorization": f"Bearer {stack.credentials.client_token.read_text().strip()}"}


@pytest.fixture
def client(stack: Stack) -> Iterator[triton.InferenceServerClient]:
    """The sync client."""
    options = {"ca_certs": str(stack.credentials.ca)}
    with triton.InferenceServerClient(
        f"localhost:{stack.port}",
        ssl=True,
        ssl_options=options,
        connection_timeout=PATIENCE_S,
        network_timeout=PATIENCE_S,
    ) as made:
        yield made


def aio_client(stack: Stack) -> triton_aio.InferenceServerClient:
    """The aio client; to be made inside a loop."""
    context = ssl.create_default_context(cafile=str(stack.credentials.ca))
    return triton_aio.InferenceServerClient(f"localhost:{stack.port}", ssl=True, ssl_context=context)


def images(*pictures: bytes, shape: list[int] | None = None) -> triton.InferInput:
    """Encoded images as one BYTES input."""
    given = triton.InferInput("image", shape or [len(pictures)], "BYTES")
    given.set_data_from_numpy(np.array(pictures, dtype=object).reshape(given.shape()))
    return given


def tensors(count: int, *, binary: bool = True) -> triton.InferInput:
    """Ready tensors: noise, the same in each run."""
    values: NDArray[np.float32] = np.random.default_rng(7).random((count, 8, 8, 1), np.float32)
    given = triton.InferInput("image", list(values.shape), "FP32")
    given.set_data_from_numpy(values, binary_data=binary)
    return given


def best(result: triton.InferResult) -> list[int]:
    """Each image's likeliest class."""
    return [int(index) for index in result.as_numpy(OUTPUT).argmax(axis=1)]


def test_metadata(client: triton.InferenceServerClient, headers: dict[str, Any]) -> None:
    """Health without a token, and with one the server, a model, its configuration and the index."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits", headers=headers)
    assert client.is_model_ready("digits", "1", headers=headers)
    assert not client.is_model_ready("none", headers=headers)
    assert "binary_tensor_data" in client.get_server_metadata(headers=headers)["extensions"]
    metadata = client.get_model_metadata("digits", "1", headers=headers)
    assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 8, 8, 1]}]
    config = client.get_model_config("digits", headers=headers)
    assert config["output"][0]["dims"] == [10]
    (entry,) = client.get_model_repository_index(headers=headers)
    assert (entry["name"], entry["state"]) == ("digits", "READY")
    client.load_model("digits", headers=headers)


@pytest.mark.parametrize("binary", [True, False])
def test_images_come_back_in_order(client: triton.InferenceServerClient, headers: dict[str, Any], binary: bool) -> None:
    """Twenty pictures in one request are the digits in their order, from both workers, in both forms of output."""
    pictures = PICTURES * 2
    wanted = [triton.InferRequestedOutput(OUTPUT, binary_data=binary)]
    result = client.infer("digits", [images(*pictures)], outputs=wanted, request_id="r-7", headers=headers)
    assert best(result) == [*range(10), *range(10)]
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("r-7", "digits", "1")
    assert ("data" in response["outputs"][0]) is not binary


def test_the_work_is_spread(stack: Stack, client: triton.InferenceServerClient, headers: dict[str, Any]) -> None:
    """Both workers answered some of a large request."""

    def answered() -> dict[str, int]:
        return {worker["worker"]: worker["models"][0]["answered"] for worker in stack.workers_view()}

    before = answered()
    client.infer("digits", [images(*PICTURES * 20)], headers=headers)
    after = answered()
    assert sum(after.values()) - sum(before.values()) == 200
    assert all(after[name] > before[name] for name in ("worker-1", "worker-2")), (before, after)


@pytest.mark.parametrize("binary", [True, False])
def test_tensors(client: triton.InferenceServerClient, headers: dict[str, Any], binary: bool) -> None:
    """Ready tensors give the same numbers whether they travel as bytes or as JSON, one by one or together."""
    together = client.infer("digits", [tensors(3, binary=binary)], headers=headers).as_numpy(OUTPUT)
    assert together.shape == (3, 10)
    assert np.allclose(together.sum(axis=1), 1.0, atol=1e-5)
    again = client.infer("digits", [tensors(3)], headers=dict(headers)).as_numpy(OUTPUT)
    assert np.allclose(together, again, atol=1e-6)


@pytest.mark.parametrize("binary", [True, False])
def test_classification(client: triton.InferenceServerClient, headers: dict[str, Any], binary: bool) -> None:
    """The likeliest classes as `probability:index:label`."""
    wanted = [triton.InferRequestedOutput(OUTPUT, binary_data=binary, class_count=3)]
    result = client.infer("digits", [images(*PICTURES[:2], shape=[2, 1])], outputs=wanted, headers=headers)
    texts = result.as_numpy(OUTPUT)
    assert texts.shape == (2, 3)
    first = texts[1][0].decode() if binary else texts[1][0]
    probability, index, label = first.split(":")
    assert (index, label, float(probability) > 0.5) == ("1", "1", True)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression(client: triton.InferenceServerClient, headers: dict[str, Any], algorithm: str) -> None:
    """Both ways, with both algorithms that the client knows."""
    result = client.infer(
        "digits",
        [images(PICTURES[4])],
        headers=headers,
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert best(result) == [4]


def test_a_headers_dictionary_is_used_again(client: triton.InferenceServerClient, headers: dict[str, Any]) -> None:
    """`infer` leaves its header in the caller's dictionary; neither a GET nor an all-JSON POST minds it."""
    client.infer("digits", [images(PICTURES[0])], headers=headers)
    assert "Inference-Header-Content-Length" in headers
    assert client.is_model_ready("digits", headers=headers)
    wanted = [triton.InferRequestedOutput(OUTPUT, binary_data=False)]
    result = client.infer("digits", [tensors(1, binary=False)], outputs=wanted, headers=headers)
    assert result.as_numpy(OUTPUT).shape == (1, 10)


def test_priority_and_timeout(client: triton.InferenceServerClient, headers: dict[str, Any]) -> None:
    """The parameters are taken; a timeout that cannot be kept is an error that says so."""
    patience_us = int(PATIENCE_S * 1e6)
    given = [images(PICTURES[5])]
    assert best(client.infer("digits", given, priority=1, timeout=patience_us, headers=headers)) == [5]
    with pytest.raises(InferenceServerException, match="deadline") as caught:
        client.infer("digits", given, timeout=1, headers=headers)
    assert caught.value.status() == "504"


def test_statistics(client: triton.InferenceServerClient, headers: dict[str, Any]) -> None:
    """Counts rise by the images of a request, and their durations with them."""

    def counts() -> dict[str, Any]:
        (entry,) = client.get_inference_statistics("digits", headers=headers)["model_stats"]
        stats: dict[str, Any] = entry["inference_stats"]
        return stats

    before = counts()
    client.infer("digits", [images(*PICTURES)], headers=headers)
    with pytest.raises(InferenceServerException):
        client.infer("digits", [images(b"junk")], headers=headers)
    after = counts()
    for name in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert after[name]["count"] - before[name]["count"] == 10
    assert after["fail"]["count"] - before["fail"]["count"] == 1
    assert after["compute_infer"]["ns"] > before["compute_infer"]["ns"]


def test_every_error_is_readable(client: triton.InferenceServerClient, headers: dict[str, Any]) -> None:
    """The client shows what was wrong and what to do, whoever refused."""
    given = [images(PICTURES[0])]
    other = triton.InferInput("image", [1, 9], "FP32")
    other.set_data_from_numpy(np.zeros((1, 9), np.float32))
    calls: list[tuple[str, str, Callable[[], object]]] = [
        ("401", "a token is needed", lambda: client.infer("digits", given)),
        ("401", "token", lambda: client.get_server_metadata(headers={"Authorization": "Bearer x"})),
        ("404", "no worker ever announced", lambda: client.infer("none", given, headers=dict(headers))),
        ("404", "version '7'", lambda: client.get_model_metadata("digits", "7", headers=headers)),
        ("400", r"\[n, 8, 8, 1\]", lambda: client.infer("digits", [other], headers=dict(headers))),
        ("400", "not an image", lambda: client.infer("digits", [images(b"junk")], headers=dict(headers))),
        ("501", "stop the worker", lambda: client.unload_model("digits", headers=headers)),
        ("404", "there is nothing at", lambda: client.get_trace_settings(headers=headers)),
    ]
    for status, text, call in calls:
        with pytest.raises(InferenceServerException, match=text) as caught:
            call()
        assert caught.value.status() == status


async def test_the_aio_client(stack: Stack, headers: dict[str, Any]) -> None:
    """Metadata, images, tensors, classes, compression, a dictionary used again and an error, with asyncio."""
    async with aio_client(stack) as client:
        assert await client.is_server_ready()
        assert await client.is_model_ready("digits", headers=headers)
        metadata = await client.get_model_metadata("digits", headers=headers)
        assert metadata["outputs"][0]["name"] == OUTPUT
        assert (await client.get_model_config("digits", headers=headers))["max_batch_size"] == 256
        assert (await client.get_inference_statistics("digits", headers=headers))["model_stats"]
        result = await client.infer("digits", [images(*PICTURES)], request_id="a-1", headers=headers)
        assert (best(result), result.get_response()["id"]) == ([*range(10)], "a-1")
        for algorithm in ("gzip", "deflate"):
            result = await client.infer(
                "digits",
                [images(PICTURES[3])],
                headers=dict(headers),
                request_compression_algorithm=algorithm,
                response_compression_algorithm=algorithm,
            )
            assert best(result) == [3]
        wanted = [triton.InferRequestedOutput(OUTPUT, binary_data=False, class_count=1)]
        result = await client.infer("digits", [images(PICTURES[6])], outputs=wanted, priority=1, headers=headers)
        assert result.as_numpy(OUTPUT)[0][0].endswith(":6:6")
        result = await client.infer("digits", [tensors(2, binary=False)], outputs=wanted, headers=headers)
        assert result.as_numpy(OUTPUT).shape == (2, 1)
        with pytest.raises(InferenceServerException, match="no worker ever announced") as caught:
            await client.infer("none", [images(PICTURES[0])], headers=headers)
        assert caught.value.status() == "404"
        with pytest.raises(InferenceServerException, match="a token is needed"):
            await client.get_model_metadata("digits")


def test_photographs_with_a_real_model(
    stack: Stack, client: triton.InferenceServerClient, headers: dict[str, Any]
) -> None:
    """64 photographs in one request, 8 MB of JPEG: what MobileNet v2 said when the table was made, in order."""
    table = photographs()
    stack.start_worker("worker-3", "--model-dir", str(model_dir()), "--threads", "1")
    stack.wait_ready("mobilenet_v2", 1)
    metadata = client.get_model_metadata("mobilenet_v2", headers=headers)
    given = triton.InferInput(metadata["inputs"][0]["name"], [len(table)], "BYTES")
    given.set_data_from_numpy(np.array([photograph.path.read_bytes() for photograph in table], dtype=object))
    result = client.infer("mobilenet_v2", [given], headers=headers | {"X-Request-Timeout": "120"})
    found = result.as_numpy(metadata["outputs"][0]["name"]).argmax(axis=1)
    same = sum(int(index) == photograph.model_index for index, photograph in zip(found, table, strict=True))
    assert same >= 62
