"""POST /v2/models/{model}/infer over HTTP, against a worker that answers as the contract says."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import pytest

from gateway import errors
from gateway.dispatch.model import Priority
from gateway.http.json_body import MAX_VALUES
from tests.support.http_gateway import TOKEN, Served, serving, turns
from tests.support.tensor_worker import ROW, TENSOR, TensorDispatcher, offer

URL = "/v2/models/pets/infer"
LENGTH = "Inference-Header-Content-Length"


def encoded(*images: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(image)) + image for image in images)


def image_input(count: int, **more: object) -> dict[str, object]:
    return {"name": "image", "datatype": "BYTES", "shape": [count], **more}


def tensor_input(count: int, **more: object) -> dict[str, object]:
    return {"name": "image", "datatype": "FP32", "shape": [count, 2, 2, 1], **more}


def binary(document: Mapping[str, object], data: bytes) -> tuple[bytes, dict[str, str]]:
    """A body and its header: the JSON, then the data of its one input."""
    one = document["inputs"][0]  # type: ignore[index]
    one.setdefault("parameters", {"binary_data_size": len(data)})
    head = json.dumps(document).encode()
    return head + data, {LENGTH: str(len(head))}


async def post(served: Served, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, Any, bytes]:
    """Status, JSON and what follows it."""
    async with served.session.post(URL, data=body, headers=headers or {}, auto_decompress=False) as answer:
        whole = await answer.read()
        size = int(answer.headers.get(LENGTH, len(whole)))
        return answer.status, json.loads(whole[:size]), whole[size:]


async def test_images_in_binary_form_come_back_in_order() -> None:
    """Two images become two jobs; the probabilities come back in the order of the images, in JSON unless asked."""
    dispatcher = TensorDispatcher(rows={b"one": (1.0, 0.0, 0.0), b"two": (0.0, 0.0, 1.0)})
    async with serving(dispatcher) as served:
        body, headers = binary({"id": "a7", "inputs": [image_input(2)]}, encoded(b"one", b"two"))
        status, document, rest = await post(served, body, headers)
    assert (status, rest) == (200, b"")
    (output,) = document.pop("outputs")
    assert document == {"model_name": "pets", "model_version": "1", "id": "a7"}
    assert output == {"name": "probabilities", "datatype": "FP32", "shape": [2, 3], "data": [1, 0, 0, 0, 0, 1]}
    assert sorted(dispatcher.bodies) == [b"one", b"two"]
    assert {job.path for job in dispatcher.jobs} == {"/inference/pets?output=raw"}
    assert sorted(job.id.rpartition(".")[2] for job in dispatcher.jobs) == ["0", "1"]


@pytest.mark.parametrize("wants", [{"parameters": {"binary_data_output": True}}, {"outputs": "asked"}])
async def test_probabilities_in_binary_form(wants: dict[str, object]) -> None:
    """By the request's parameter or the output's own, the worker's bytes follow the JSON as they are."""
    if "outputs" in wants:
        wants = {"outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}]}
    async with serving(TensorDispatcher()) as served:
        body, headers = binary({"inputs": [image_input(1)], **wants}, encoded(b"one"))
        status, document, rest = await post(served, body, headers)
    assert status == 200
    assert document["outputs"][0]["parameters"] == {"binary_data_size": 12}
    assert struct.unpack("<3f", rest) == ROW


async def test_the_outputs_own_wish_beats_the_requests() -> None:
    """An output with binary_data false is JSON although the request asks for binary."""
    asked = {
        "inputs": [image_input(1)],
        "outputs": [{"name": "probabilities", "parameters": {"binary_data": False}}],
        "parameters": {"binary_data_output": True},
    }
    async with serving(TensorDispatcher()) as served:
        _, document, rest = await post(served, *binary(asked, encoded(b"one")))
    assert (document["outputs"][0]["data"], rest) == (list(ROW), b"")


async def test_tensors_reach_the_worker_as_they_came() -> None:
    """FP32 is passed on byte by byte, a row to a job, with its shape and type beside it."""
    second = struct.pack("<4f", 5, 6, 7, 8)
    async with serving(TensorDispatcher()) as served:
        status, document, _ = await post(served, *binary({"inputs": [tensor_input(2)]}, TENSOR + second))
        assert (status, document["outputs"][0]["shape"]) == (200, [2, 3])
        assert sorted(served.dispatcher.bodies) == sorted([TENSOR, second])
        assert dict(served.dispatcher.jobs[0].metadata) == {
            "content-type": "application/vnd.tensor",
            "tensor-datatype": "FP32",
            "tensor-shape": "1,2,2,1",
        }


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[[[1.0], [2]], [[3], [4.0]]]]], ids=["flat", "nested"])
async def test_tensors_in_json(data: list[object]) -> None:
    """Numbers in JSON, flat or nested, become the same bytes."""
    async with serving(TensorDispatcher()) as served:
        status, _, _ = await post(served, json.dumps({"inputs": [tensor_input(1, data=data)]}).encode())
        assert (status, served.dispatcher.bodies) == (200, [TENSOR])


@pytest.mark.parametrize("is_binary", [True, False])
async def test_classification(is_binary: bool) -> None:
    """N classes as `probability:index:label`, six decimals, the likeliest first; never more than there are."""
    wanted = {"name": "probabilities", "parameters": {"classification": 9, "binary_data": is_binary}}
    async with serving(TensorDispatcher()) as served:
        asked = {"inputs": [image_input(1)], "outputs": [wanted]}
        _, document, rest = await post(served, *binary(asked, encoded(b"one")))
    (output,) = document["outputs"]
    texts = ["0.625000:1:dog", "0.250000:0:cat", "0.125000:2:cow"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 3])
    assert rest == (encoded(*(text.encode() for text in texts)) if is_binary else b"")
    assert output.get("data", texts) == texts
    assert served.dispatcher.jobs[0].path == "/inference/pets?top=3"


async def test_a_bare_image_is_given_to_a_worker_while_it_arrives() -> None:
    """With the header 0 the body is one image; all but its last byte is at the worker before that was sent."""
    picture = bytes(range(256)) * 1024
    head = f"Host: gateway\r\nAuthorization: Bearer {TOKEN}\r\n{LENGTH}: 0\r\nContent-Length: {len(picture)}\r\n\r\n"
    async with serving(TensorDispatcher()) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f"POST {URL} HTTP/1.1\r\n{head}".encode() + picture[:100_000])
        await writer.drain()
        writer.write(picture[100_000:-1])
        received = 0
        while received < len(picture) - 1:
            received += len(await served.dispatcher.pieces.get())
        assert served.dispatcher.bodies == []
        writer.write(picture[-1:])
        assert b" 200 " in await reader.readline()
        writer.close()
        assert served.dispatcher.bodies == [picture]


async def test_a_bare_image_is_answered_in_binary_form() -> None:
    """The answer's header says where the values begin."""
    async with serving(TensorDispatcher()) as served:
        status, document, rest = await post(served, b"picture", {LENGTH: "0"})
    assert (status, document["outputs"][0]["shape"]) == (200, [1, 3])
    assert struct.unpack("<3f", rest) == ROW


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
@pytest.mark.parametrize("is_bare", [True, False])
async def test_packed_bodies(encoding: str, pack: Any, is_bare: bool) -> None:
    """A body may be gzip or deflate; the header counts the JSON before packing, and 0 is still a bare image."""
    body, headers = (b"one", {LENGTH: "0"}) if is_bare else binary({"inputs": [image_input(1)]}, encoded(b"one"))
    async with serving(TensorDispatcher()) as served:
        status, _, _ = await post(served, pack(body), headers | {"Content-Encoding": encoding})
        assert (status, served.dispatcher.bodies) == (200, [b"one"])


@pytest.mark.parametrize(
    ("accepts", "unpack"), [("gzip", gzip.decompress), ("deflate", zlib.decompress), ("gzip, deflate, br", bytes)]
)
async def test_answers_are_packed_only_when_exactly_asked(accepts: str, unpack: Any) -> None:
    """`gzip` or `deflate` alone packs an inference's answer; a list of encodings, or an error, is left as it is."""
    async with serving(TensorDispatcher()) as served:
        async with served.session.post(
            URL, data=b"one", headers={LENGTH: "0", "Accept-Encoding": accepts}, auto_decompress=False
        ) as answer:
            whole = unpack(await answer.read())
            assert json.loads(whole[: int(answer.headers[LENGTH])])["model_name"] == "pets"
        async with served.session.post(
            URL, data=b"", headers={"Accept-Encoding": accepts}, auto_decompress=False
        ) as answer:
            assert "Content-Encoding" not in answer.headers
            assert json.loads(await answer.read()).keys() == {"error"}


async def test_sees_through_a_stale_header() -> None:
    """A header left over from an earlier request does not spoil a body that is all JSON."""
    body = json.dumps({"inputs": [tensor_input(1, data=[1, 2, 3, 4])]}).encode()
    async with serving(TensorDispatcher()) as served:
        for stale in ("40", "99999"):
            status, _, _ = await post(served, body, {LENGTH: stale})
            assert status == 200
        async with served.session.get("/v2/models/pets", headers={LENGTH: "40"}) as answer:
            assert answer.status == 200


async def test_priority_and_timeout() -> None:
    """Priority 1 leaves the queue first; a timeout in microseconds shortens the deadline and cannot prolong it."""
    async with serving(TensorDispatcher()) as served:
        for parameters in ({}, {"priority": 1, "timeout": 2_000_000}, {"priority": 2, "timeout": 10**15}):
            body, headers = binary({"inputs": [image_input(1)], "parameters": parameters}, encoded(b"one"))
            assert (await post(served, body, headers))[0] == 200
        plain, hurried, patient = served.dispatcher.jobs
    assert [job.priority for job in (plain, hurried, patient)] == [Priority.NORMAL, Priority.HIGH, Priority.NORMAL]
    assert 20 < plain.deadline - hurried.deadline < 29
    assert patient.deadline - plain.deadline < 20


async def test_the_first_failure_cancels_the_rest() -> None:
    """One bad image ends the request with its error, and the others' work with it."""
    dispatcher = TensorDispatcher(answers={b"bad": errors.BadInput("not an image")})
    async with serving(dispatcher, {"limits": {"max_parallel_parts": 2}}) as served:
        body, headers = binary({"inputs": [image_input(5)]}, encoded(b"bad", *[b"good"] * 4))
        dispatcher.may_answer.clear()
        asking = asyncio.create_task(post(served, body, headers))
        await dispatcher.started.acquire()
        await dispatcher.started.acquire()
        await turns()
        assert dispatcher.most_running == 2
        dispatcher.may_answer.set()
        status, document, _ = await asking
    assert (status, document) == (400, {"error": "not an image"})
    assert len(dispatcher.jobs) < 5


async def test_says_when_weights_mean_nothing() -> None:
    """A model that was never trained says so in every answer."""
    dispatcher = TensorDispatcher(offers={"pets": offer(weights="random (seed 7)")})
    async with serving(dispatcher) as served:
        _, document, _ = await post(served, b"picture", {LENGTH: "0"})
    assert document["parameters"] == {"weights": "random"}


async def test_answers_carry_their_timing() -> None:
    """Server-Timing and the request's id are there as with the native API, and the request is counted."""
    async with serving(TensorDispatcher()) as served:
        async with served.session.post(URL, data=b"one", headers={LENGTH: "0", "X-Request-ID": "r-9"}) as answer:
            assert "inference;dur=4.000" in answer.headers["Server-Timing"]
            assert answer.headers["X-Request-ID"] == "r-9"
        assert served.metrics.requests.count("/v2/models/{model}/infer", "POST", "200") == 1
        assert served.metrics.stages.count("inference") == 1


BINARY_IMAGES = {"inputs": [image_input(2, parameters={"binary_data_size": 14})]}
REFUSED: list[tuple[str, dict[str, Any], bytes, str]] = [
    ("no JSON", {}, b"{", "not JSON"),
    ("no object", {}, b"[]", "not an object"),
    ("deep", {}, b"[" * 10_000, "nested too deep"),
    ("constants", {}, b'{"inputs": NaN}', "NaN is not a number"),
    ("latin-1", {}, b'{"id": "\xe9"}', "not UTF-8"),
    ("no inputs", {}, b"{}", "0 inputs"),
    ("two inputs", {"inputs": [tensor_input(1)] * 2}, b"", "2 inputs"),
    ("other input", {"inputs": [tensor_input(1) | {"name": "x"}]}, b"", "there is no input 'x'; there is 'image'"),
    ("other type", {"inputs": [tensor_input(1) | {"datatype": "UINT8"}]}, b"", "datatype 'UINT8' is not taken"),
    ("other shape", {"inputs": [tensor_input(1) | {"shape": [1, 2, 2]}]}, b"", "[n, 2, 2, 1] is taken"),
    ("no images", {"inputs": [image_input(0, data=[])]}, b"", "with n from 1"),
    ("image shape", {"inputs": [image_input(1) | {"shape": [1, 2]}]}, b"", "[n] or [n, 1]"),
    ("shape of text", {"inputs": [image_input(1) | {"shape": ["1"]}]}, b"", "whole numbers"),
    ("no data", {"inputs": [tensor_input(1)]}, b"", "either data or"),
    ("too few values", {"inputs": [tensor_input(1, data=[1, 2, 3])]}, b"", "has 3 values"),
    ("ragged", {"inputs": [tensor_input(1, data=[[[[1], [2]], [[3]]]])]}, b"", "not nested"),
    ("text values", {"inputs": [tensor_input(1, data=["a", 1, 2, 3])]}, b"", "not numbers"),
    ("huge value", {"inputs": [tensor_input(1, data=[10**400, 1, 2, 3])]}, b"", "not numbers"),
    ("not texts", {"inputs": [image_input(1, data=[1])]}, b"", "not texts"),
    ("short section", BINARY_IMAGES, encoded(b"one"), "binary_data_size is 14, but 7 bytes follow"),
    ("long section", BINARY_IMAGES, encoded(b"one", b"two") + b"!", "1 bytes are left over"),
    ("short element", {"inputs": [image_input(2)]}, encoded(b"one") + b"\x09\0\0\0xy", "element 1 has 9 bytes"),
    ("half a length", {"inputs": [image_input(2)]}, encoded(b"three") + b"\0\0\0", "before the length of element 1"),
    ("too many elements", {"inputs": [image_input(200)]}, encoded(b"one"), "200 elements, for which 7 bytes"),
    ("elements left over", {"inputs": [image_input(1)]}, encoded(b"one", b"two"), "after the 1 elements"),
    ("empty element", {"inputs": [image_input(1)]}, encoded(b""), "item 0 is empty"),
    (
        "tensor bytes",
        {"inputs": [tensor_input(1)]},
        b"\0" * 12,
        "has 12 bytes, and its shape [1, 2, 2, 1] of FP32 makes 16",
    ),
    ("negative size", {"inputs": [image_input(1, parameters={"binary_data_size": -1})]}, b"", "binary_data_size"),
    ("other output", {"inputs": [image_input(1)], "outputs": [{"name": "x"}]}, encoded(b"one"), "no output 'x'"),
    ("bad priority", {"inputs": [image_input(1)], "parameters": {"priority": "high"}}, encoded(b"one"), "priority"),
    ("bad id", {"id": 7, "inputs": [image_input(1)]}, encoded(b"one"), "id must be a text"),
    ("too many images", {"inputs": [image_input(257)]}, encoded(*[b"x"] * 257), "up to 256"),
]


@pytest.mark.parametrize(("document", "data", "text"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
async def test_refuses_what_does_not_add_up(document: dict[str, Any], data: bytes, text: str) -> None:
    """Each mistake is a 400 whose `error` says what was found and what is taken, and reaches no worker."""
    body, headers = (data, {})
    if document:
        # A list of its own: `binary` writes the size of the section into the input, where a case gives none.
        copy = json.loads(json.dumps(document))
        head = json.dumps(copy).encode()
        body, headers = binary(copy, data) if data else (head, {})
    async with serving(TensorDispatcher()) as served:
        async with served.session.post(URL, data=body, headers=headers) as answer:
            assert answer.status == 400
            assert answer.headers["Content-Type"] == "application/json"
            problem = await answer.json()
        assert problem.keys() == {"error"}
        assert text in problem["error"]
        assert served.dispatcher.jobs == []


async def test_refuses_shared_memory() -> None:
    """What Triton offers on the same machine is answered as not offered."""
    said = {"shared_memory_region": "a", "shared_memory_byte_size": 4}
    async with serving(TensorDispatcher()) as served:
        status, document, _ = await post(served, json.dumps({"inputs": [image_input(1, parameters=said)]}).encode())
    assert status == 501
    assert "shared memory" in document["error"]


async def test_bounds_bodies_before_and_after_unpacking() -> None:
    """Limits hold for what is declared, for the JSON, for a bare image, and for what a small body unpacks to."""
    limits = {"limits": {"max_body_bytes": 2048, "max_json_bytes": 4096, "max_multipart_bytes": 8192}}
    bomb = gzip.compress(bytes(100_000))
    async with serving(TensorDispatcher(), limits) as served:
        for body, headers in (
            (bytes(3000), {LENGTH: "0"}),
            (bomb, {LENGTH: "0", "Content-Encoding": "gzip"}),
            (b" " * 5000, {}),
            (bomb, {"Content-Encoding": "gzip"}),
            (b" " * 5000, {LENGTH: "5000"}),
            (bytes(9000), {LENGTH: "10"}),
            (bomb, {LENGTH: "10", "Content-Encoding": "gzip"}),
        ):
            status, document, _ = await post(served, body, headers)
            assert status == 413, document
            assert "limits.max_" in document["error"]
        assert served.dispatcher.jobs == []


async def test_bounds_the_values_of_json() -> None:
    """Small text that would become many objects is refused unread."""
    async with serving(TensorDispatcher()) as served:
        body = io.BytesIO(b'{"inputs": [' + b"[]," * MAX_VALUES + b"0]}")
        async with served.session.post(URL, data=body) as answer:
            assert answer.status == 400
            assert "values" in (await answer.json())["error"]


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"junk", "gzip", 400),
        (gzip.compress(b"{}")[:-9], "gzip", 400),
        (zlib.compress(b"{}") + b"more", "deflate", 400),
        (b"{}", "br", 415),
    ],
)
async def test_refuses_wrong_packing(body: bytes, encoding: str, status: int) -> None:
    """A body that is not what its Content-Encoding says, breaks off, or goes on is refused in words."""
    async with serving(TensorDispatcher()) as served:
        found, document, _ = await post(served, body, {"Content-Encoding": encoding})
        assert found == status
        assert encoding in document["error"]


@pytest.mark.parametrize("length", ["-1", "x", "1" * 30, "\N{SUPERSCRIPT TWO}"])
async def test_refuses_a_header_that_is_no_number(length: str) -> None:
    """Inference-Header-Content-Length must count bytes."""
    async with serving(TensorDispatcher()) as served:
        assert (await post(served, b"{}", {LENGTH: length}))[0] == 400


@pytest.mark.parametrize(
    "metadata",
    [{"tensor-shape": "1,4"}, {"tensor-shape": "2,3"}, {"tensor-datatype": "FP16"}, {"content-type": "text/plain"}],
)
async def test_blames_a_worker_whose_tensor_is_none(metadata: dict[str, str]) -> None:
    """An answer that is not the tensor it says is a 502."""
    async with serving(TensorDispatcher(raw_metadata=metadata)) as served:
        assert (await post(served, b"picture", {LENGTH: "0"}))[0] == 502


async def test_blames_a_worker_with_other_classes_or_no_numbers() -> None:
    """Another number of classes than announced is a 502, and so is NaN where JSON was asked for."""
    dispatcher = TensorDispatcher(rows={b"one": (1.0,), b"two": (float("nan"), 0.0, 0.0)})
    async with serving(dispatcher) as served:
        assert (await post(served, b"one", {LENGTH: "0"}))[0] == 502
        assert (await post(served, *binary({"inputs": [image_input(1)]}, encoded(b"two"))))[0] == 502


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/none/infer", 404),
        ("/v2/models/pets/versions/2/infer", 404),
        ("/v2/models/absent/infer", 503),
        ("/v2/models/secret/infer", 403),
        ("/v2/models/pets/inferno", 404),
        ("/v2/models/pets/ready", 405),
    ],
)
async def test_every_refusal_is_readable(path: str, status: int) -> None:
    """Whoever refuses, the body is `{"error": ...}`, which these clients read."""
    async with serving(TensorDispatcher()) as served:
        async with served.session.post(path, data=b"one", headers={LENGTH: "0"}) as answer:
            assert answer.status == status
            assert (await answer.json()).keys() == {"error"}
        async with served.session.post(URL, data=b"one", headers={"Authorization": "Bearer other"}) as answer:
            assert (answer.status, (await answer.json()).keys()) == (401, {"error"})


async def test_a_model_without_tensors_is_the_native_apis() -> None:
    """A model whose worker announces no input is answered 501, with the way to use it."""
    async with serving(TensorDispatcher(offers={"pets": offer(input=None)})) as served:
        status, document, _ = await post(served, b"one", {LENGTH: "0"})
    assert status == 501
    assert "POST /inference/MODEL" in document["error"]
