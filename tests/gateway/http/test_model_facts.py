"""What workers announce of a model, as the standard APIs know it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from gateway.dispatch.model import ModelOffer
from gateway.errors import BadRequest, NoWorker, UnknownModel, Unsupported
from gateway.http.model_facts import Models, check_version, facts_of
from tests.support.tensor_worker import TensorDispatcher, offer


@dataclass(eq=False)
class Rollout(TensorDispatcher):
    """Two workers that announce different versions of one model."""

    by_worker: dict[str, ModelOffer] = field(
        default_factory=lambda: {"w1": offer(), "w2": replace(offer(engine="tensorflow"), version="2")}
    )

    def offer(self, model: str, worker: str = "") -> ModelOffer | None:
        return self.by_worker.get(worker or "w1") if model == "pets" else None

    def versions(self, model: str) -> list[str]:
        return [one.version for one in self.by_worker.values()]

    def workers_view(self) -> list[dict[str, object]]:
        return [{"worker": worker, "models": []} for worker in self.by_worker]


def test_finds_every_version() -> None:
    """Each announced version can be asked about, and no other."""
    models = Models(Rollout())
    assert (models.facts("pets").version, models.facts("pets", "2").engine) == ("1", "tensorflow")
    with pytest.raises(UnknownModel, match="version '3'"):
        models.facts("pets", "3")


def test_does_not_promise_a_version_while_there_are_two() -> None:
    """Dispatch chooses a worker, not a version: an inference that names one is 503 until there is one."""
    dispatcher = Rollout()
    models = Models(dispatcher)
    with pytest.raises(NoWorker, match="versions '1', '2'"):
        models.for_jobs("pets", "2")
    assert models.for_jobs("pets", "").name == "pets"
    del dispatcher.by_worker["w2"]
    assert models.for_jobs("pets", "1").version == "1"


def test_names_the_version_that_answered() -> None:
    """By the workers that did; empty where they differ, or one has left meanwhile."""
    models = Models(Rollout())
    assert models.version_at("pets", {"w2": None}) == "2"
    assert models.version_at("pets", {"w1": None, "w2": None}) == ""
    assert models.version_at("pets", {"w9": None}) == ""


def test_reads_an_announcement_anew_when_it_changes() -> None:
    """A worker that comes back with another description is believed."""
    dispatcher = TensorDispatcher()
    models = Models(dispatcher)
    assert models.facts("pets") is models.facts("pets")
    dispatcher.offers["pets"] = offer(engine="tensorflow")
    assert models.facts("pets").engine == "tensorflow"


@pytest.mark.parametrize(
    "changes",
    [
        {"input": None},
        {"output": None},
        {"input": {"datatype": "INT8", "shape": [-1, 2]}},
        {"input": {"datatype": "FP32", "shape": [2, 2]}},
        {"input": {"datatype": "FP32", "shape": [-1]}},
        {"input": {"datatype": "FP32", "shape": [-1, 0]}},
        {"input": {"datatype": "FP32", "shape": [-1, 1.5]}},
        {"input": {"datatype": "FP32", "shape": [-1, True]}},
        {"input": {"datatype": "FP32", "shape": [-1, 1 << 20, 1 << 20]}},
        {"input": {"datatype": "FP32", "shape": [-1] + [1] * 9}},
        {"output": {"shape": [-1, 3, 3]}},
        {"output": {"shape": [-1, 10**7]}},
    ],
)
def test_believes_no_impossible_tensor(changes: dict[str, object]) -> None:
    """A shape or type that cannot be is as if it had not been announced."""
    with pytest.raises(Unsupported):
        facts_of(offer(**changes)).takes_tensors()


def test_names_what_has_no_name() -> None:
    """A network's only input and output need no name of their own; an unprintable one is none."""
    said = {"input": {"datatype": "FP32", "shape": [-1, 4], "name": ""}, "output": {"shape": [-1, 3], "name": "a\n"}}
    tensors = facts_of(offer(**said)).takes_tensors()
    assert (tensors.input_name, tensors.output_name, tensors.row_bytes) == ("input", "output", 16)


@pytest.mark.parametrize("version", ["1\n", "v\N{LATIN SMALL LETTER E WITH ACUTE}", "1" * 129])
def test_refuses_versions_that_none_can_be(version: str) -> None:
    """A version in a path is printable ASCII of a bounded length."""
    with pytest.raises(BadRequest):
        check_version(version)
