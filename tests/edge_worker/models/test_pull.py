"""A model of the catalogue becomes a model folder, from the network or by hand, whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_worker.models import labels as labels_module
from edge_worker.models import pull as pulling
from edge_worker.models.catalogue import CatalogueModel, RemoteFile, known_model
from edge_worker.models.labels import archive_members, labels_of_index
from edge_worker.models.progress import Advance, Lines
from edge_worker.models.pull import IMAGENET, Order, PullFailed, pull
from edge_worker.models.registry import read_model, read_verified
from edge_worker.models.spec import RANDOM, SpecError
from edge_worker.models.store import Store, StoreError
from tests.support.file_server import FileServer

NETWORK = b"a frozen graph " * 1000
LABELS = "".join(f"{name}\n" for name in ["dummy", "kit fox", "Cardigan", "tabby", *map(str, range(997))]).encode()
NAMES = ("tensorflow_inception_graph.pb", "imagenet_comp_graph_label_strings.txt")


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def zipped(network: bytes = NETWORK, labels: bytes = LABELS) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in zip((*NAMES, "LICENSE"), (network, labels, b"Apache"), strict=True):
            archive.writestr(name, content)
    return out.getvalue()


def googlenet(archive: bytes, url: str = "https://localhost:1") -> CatalogueModel:
    """The catalogue's entry, but for where its files are and what they are."""
    return dataclasses.replace(
        known_model("googlenet"),
        weights=RemoteFile(f"{url}/models/inception5h.zip", sha256(archive)),
        members=(RemoteFile(NAMES[0], sha256(NETWORK)), RemoteFile(NAMES[1], sha256(LABELS))),
    )


def order(model: CatalogueModel, source: Path | None = None, **changes: Any) -> Order:
    return dataclasses.replace(Order(model, IMAGENET, 0, "tf-frozen", source, Path()), **changes)


def run(wanted: Order, folder: Path) -> Path:
    return pull(dataclasses.replace(wanted, folder=folder), Lines(io.StringIO()))


def assert_installed(folder: Path) -> None:
    found = read_model(folder)
    assert found.spec is not None, found.failure
    assert read_verified(found) == NETWORK
    assert (found.spec.name, found.spec.version, found.spec.format) == ("googlenet", "imagenet-1", "tf-frozen")
    assert (found.spec.input.name, found.spec.output.name, found.spec.output.softmax) == ("input", "softmax2", True)
    assert (found.spec.input.mean, found.spec.input.scale) == ((117.0,) * 3, (1.0,) * 3)
    assert found.spec.weights.endswith("inception5h.zip; Apache-2.0")
    assert len(found.labels) == 1008
    assert (found.labels[2], found.labels[1001]) == ("Cardigan", "unused 1001")
    assert found.spec.groups == {"dog": (2,), "cat": (3,)}


def test_a_model_is_downloaded_and_installed(published: FileServer, tmp_path: Path) -> None:
    """What a worker finds then is whole; nothing of the download is left."""
    published.files["inception5h.zip"] = archive = zipped()
    place = run(order(googlenet(archive, published.url)), tmp_path / "new" / "models")
    assert place == tmp_path / "new" / "models" / "googlenet"
    assert_installed(place)
    assert not list((tmp_path / "new" / "models" / ".downloads").iterdir())
    assert sorted(path.name for path in place.iterdir()) == ["labels.txt", "model.toml", NAMES[0]]


def test_a_stopped_pull_is_continued(published: FileServer, tmp_path: Path) -> None:
    """Control-C in the middle leaves a part, no model, and no lock; the same order goes on from there."""
    archive = zipped(bytes_of_noise(300_000))
    model = googlenet(archive, published.url)
    model = dataclasses.replace(
        model, members=(RemoteFile(NAMES[0], sha256(bytes_of_noise(300_000))), model.members[1])
    )
    published.files["inception5h.zip"] = archive
    with pytest.raises(KeyboardInterrupt):
        pull(order(model, folder=tmp_path), StoppedAfter(100_000))
    assert not (tmp_path / "googlenet").exists()
    assert (tmp_path / ".downloads" / "inception5h.zip.part").stat().st_size > 0
    run(order(model), tmp_path)
    assert published.asked[-1]["range"].startswith("bytes=")
    assert read_model(tmp_path / "googlenet").failure == ""


class StoppedAfter:
    """A person who presses Control-C after so many bytes."""

    def __init__(self, most: int) -> None:
        self._left = most

    @contextmanager
    def of(self, name: str, done: int, total: int | None) -> Iterator[Advance]:
        def advance(count: int) -> None:
            self._left -= count
            if self._left < 0:
                raise KeyboardInterrupt

        yield advance


def bytes_of_noise(count: int) -> bytes:
    return b"".join(hashlib.sha256(bytes([number % 256, number // 256])).digest() for number in range(count // 32))


def test_without_a_network_it_is_said_what_to_do(tmp_path: Path, published: FileServer) -> None:
    """Which file, from where, and the command that takes it."""
    model = googlenet(zipped())
    with pytest.raises(PullFailed) as caught:
        run(order(model), tmp_path)
    said = str(caught.value)
    assert "Connection refused" in said
    assert model.weights.url in said.split("Without a network")[1]
    assert f"edge-worker models pull googlenet --model-dir {tmp_path} --from FOLDER" in said


@pytest.mark.parametrize("form", ["folder", "file", "renamed file", "unpacked"])
def test_what_was_fetched_by_hand_is_taken(tmp_path: Path, form: str) -> None:
    """A folder, a file under any name, or the archive's own files; verified, and left where it is."""
    brought, archive = tmp_path / "usb", zipped()
    brought.mkdir()
    if form == "unpacked":
        for name, content in zip(NAMES, (NETWORK, LABELS), strict=True):
            (brought / name).write_bytes(content)
    else:
        (brought / ("download(1).zip" if form == "renamed file" else "inception5h.zip")).write_bytes(archive)
    before = sorted(brought.iterdir())
    source = before[0] if "file" in form else brought
    assert_installed(run(order(googlenet(archive), source), tmp_path / "models"))
    assert sorted(brought.iterdir()) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped()[:-100], "is not inception5h.zip: its checksum is not sha256:"),
        (b"", "is not inception5h.zip"),
        (None, "inception5h.zip: there is no such file"),
    ],
)
def test_a_wrong_file_by_hand_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    """Truncated, empty or missing: the file is named, and nothing is installed."""
    brought = tmp_path / "usb"
    brought.mkdir()
    if content is not None:
        (brought / "inception5h.zip").write_bytes(content)
    with pytest.raises(PullFailed, match=message):
        run(order(googlenet(zipped()), brought), tmp_path / "models")
    assert not (tmp_path / "models" / "googlenet").exists()


def test_a_wrong_member_is_refused(tmp_path: Path) -> None:
    """The archive may be the right one and the network in it not."""
    archive = zipped(network=b"another")
    (tmp_path / "inception5h.zip").write_bytes(archive)
    with pytest.raises(PullFailed, match=rf"{NAMES[0]} is another file"):
        run(order(googlenet(archive), tmp_path), tmp_path / "models")


def test_a_member_is_read_to_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that unpacks to more than a network can be is refused, whatever its directory says."""
    monkeypatch.setattr(labels_module, "MAX_MEMBER_BYTES", 1000)
    path = tmp_path / "bomb.zip"
    path.write_bytes(zipped())
    with pytest.raises(SpecError, match=r"tensorflow_inception_graph\.pb has over 1000 bytes"):
        archive_members(path, googlenet(b"").members)


@pytest.mark.parametrize(
    ("content", "message"), [(b"no archive", "is no whole zip archive"), (zipped()[:-30], "is no whole zip archive")]
)
def test_what_is_no_archive_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    """And a name that an archive does not have."""
    path = tmp_path / "inception5h.zip"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=message):
        archive_members(path, googlenet(b"").members)
    path.write_bytes(zipped())
    with pytest.raises(SpecError, match="There is no item named 'other\\.pb'"):
        archive_members(path, (RemoteFile("other.pb", ""),))


def test_a_model_is_replaced_in_one_step(tmp_path: Path) -> None:
    """The new one has nothing of the old one; a broken folder of its name is replaced too."""
    (tmp_path / "models" / "googlenet").mkdir(parents=True)
    (tmp_path / "models" / "googlenet" / "old.pb").write_bytes(b"old")
    (tmp_path / "inception5h.zip").write_bytes(zipped())
    place = run(order(googlenet(zipped()), tmp_path), tmp_path / "models")
    assert_installed(place)
    assert not (place / "old.pb").exists()


def test_a_failed_replacement_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the new folder cannot be put in place, the old one is there again."""
    store = Store(tmp_path)
    store.put("colours", {"model.toml": b"old"})
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name == "colours" and path.parent != tmp_path:
            raise PermissionError(13, "Permission denied")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(StoreError, match="cannot be written: Permission denied"):
        store.put("colours", {"model.toml": b"new"})
    assert (tmp_path / "colours" / "model.toml").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["colours"]


def test_two_pulls_do_not_meet(tmp_path: Path) -> None:
    """The second one says so at once and touches nothing."""
    (tmp_path / "inception5h.zip").write_bytes(zipped())
    models = tmp_path / "models"
    with Store(models).locked(), pytest.raises(PullFailed, match="another pull is at work there"):
        run(order(googlenet(zipped()), tmp_path), models)
    assert not (models / "googlenet").exists()
    assert_installed(run(order(googlenet(zipped()), tmp_path), models))


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    """A file is in the way."""
    (tmp_path / "models").write_bytes(b"")
    with pytest.raises(PullFailed, match="models: cannot be written"):
        run(order(googlenet(zipped()), tmp_path), tmp_path / "models")


def test_a_format_that_a_model_has_not_is_refused(tmp_path: Path) -> None:
    """GoogLeNet is published as a frozen graph alone."""
    with pytest.raises(PullFailed, match="googlenet can be had as tf-frozen, not as keras"):
        run(order(googlenet(b""), format="keras"), tmp_path)


@pytest.mark.parametrize("weights", [IMAGENET, RANDOM])
def test_without_tensorflow_the_command_is_said(tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is downloaded for it."""
    import sys

    monkeypatch.setitem(sys.modules, "tensorflow", None)
    for name in [one for one in sys.modules if one.startswith("edge_worker.models.networks")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("edge_worker.models.networks", raising=False)
    with pytest.raises(PullFailed, match=r"needs tensorflow: pip install '\.\[models,tensorflow\]'"):
        run(order(known_model("xception"), weights=weights), tmp_path)


def test_without_requests_the_command_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other commands do without it."""
    import sys

    monkeypatch.setitem(sys.modules, "requests", None)
    monkeypatch.delitem(sys.modules, "edge_worker.models.download", raising=False)
    with pytest.raises(PullFailed, match=r"needs requests: pip install '\.\[models\]'"):
        run(order(googlenet(b"")), tmp_path)


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"0": ["n01440764"]}', b'{"1": ["n01440764", "tench"]}', b" " * ((1 << 20) + 1)]
)
def test_a_list_of_classes_is_checked(tmp_path: Path, content: bytes) -> None:
    """What is not Keras's list is refused by name, a long one unread."""
    path = tmp_path / "imagenet_class_index.json"
    path.write_bytes(content)
    if content == b"[]":
        assert labels_of_index(path) == []
        return
    with pytest.raises(SpecError, match=r"imagenet_class_index\.json: is"):
        labels_of_index(path)


def test_a_list_of_classes_is_read(tmp_path: Path) -> None:
    """In the order of its numbers."""
    path = tmp_path / "index.json"
    path.write_text(json.dumps({"1": ["n2", "Siamese_cat"], "0": ["n1", "tench"]}))
    assert labels_of_index(path) == ["tench", "Siamese cat"]


def test_the_model_that_is_made_says_that_it_is_random(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its description, which answers and reports repeat, and in its version."""

    class Networks:
        @staticmethod
        def random_googlenet(seed: int, mean: object, scale: object) -> bytes:
            return b"network %d" % seed

    monkeypatch.setattr(pulling, "_networks", lambda: Networks)
    found = read_model(run(order(known_model("googlenet"), weights=RANDOM, seed=7), tmp_path))
    assert found.spec is not None
    assert (found.spec.weights, found.spec.version) == ("random (seed 7)", "random-7")
    assert found.spec.has_random_weights
    assert found.labels[:2] == ("class 0", "class 1")
    assert read_verified(found) == b"network 7"
    assert {name: len(indices) for name, indices in found.spec.groups.items()} == {"dog": 118, "cat": 5, "big_cat": 8}
