"""Which models a worker finds in its folders, and why it does not take others."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from edge_worker.models import registry
from edge_worker.models.registry import (
    EMBEDDED,
    FoundModel,
    find_models,
    folder_sha256,
    only,
    read_model,
    read_verified,
)
from edge_worker.models.spec import SpecError
from tests.support.models import write_model


def failures(models: list[FoundModel]) -> dict[str, str]:
    return {model.name: model.failure for model in models}


def test_a_folder_of_folders_is_read_in_order_of_their_names(tmp_path: Path) -> None:
    """Each folder is a model; files beside them and hidden folders are not."""
    write_model(tmp_path / "b", name='name = "second"')
    write_model(tmp_path / "a", name='name = "first"')
    (tmp_path / ".git").mkdir()
    (tmp_path / "README.md").write_text("about")
    assert failures(find_models([tmp_path], embedded=False)) == {"first": "", "second": ""}


def test_a_model_folder_is_read_itself(tmp_path: Path) -> None:
    """A model dir may be one model's own folder."""
    assert [model.name for model in find_models([write_model(tmp_path)], embedded=False)] == ["colours"]


def test_the_embedded_model_is_there_unless_it_is_replaced(tmp_path: Path) -> None:
    """A folder with a model of its name takes its place, without a complaint."""
    assert failures(find_models([])) == {"digits": ""}
    write_model(tmp_path / "mine", name='name = "digits"')
    (model,) = find_models([tmp_path])
    assert (model.folder, model.failure) == ((tmp_path / "mine").resolve(), "")


def test_of_two_models_of_one_name_the_first_is_kept(tmp_path: Path) -> None:
    """The others are shown as failures that say which folder has the name."""
    for folder in ("a", "b", "c"):
        write_model(tmp_path / folder)
    found = failures(find_models([tmp_path], embedded=False))
    assert found.keys() == {"colours", "colours-2", "colours-3"}
    assert found["colours"] == ""
    assert f"{tmp_path / 'a'} has the name 'colours' already" in found["colours-2"]


def test_only_the_models_that_are_named(tmp_path: Path) -> None:
    """In the order in which they are named, each once; a name that nobody has is told with those that there are."""
    for name in ("a", "b", "c"):
        write_model(tmp_path / name, name=f'name = "{name}"')
    found = find_models([tmp_path], embedded=False)
    assert [model.name for model in only(found, ("c", "a", "c"))] == ["c", "a"]
    assert only(found, ()) == found
    with pytest.raises(SpecError, match="model = 'x': is not here; there are: a, b, c"):
        only(found, ("a", "x"))


def test_a_folder_without_a_description_is_a_failure_with_its_name(tmp_path: Path) -> None:
    """The name is made fit to be announced."""
    (tmp_path / "my own/model").mkdir(parents=True)
    (model,) = find_models([tmp_path], embedded=False)
    assert model.name == "my_own"
    assert "has no model.toml, and no shipped description fits" in model.failure


def describe(known: Path, folder: Path) -> None:
    """Moves the folder's description to the shipped ones."""
    known.mkdir()
    (folder / "model.toml").rename(known / "colours.toml")


def test_a_shipped_description_fits_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the description's name needs no model.toml of its own."""
    monkeypatch.setattr(registry, "KNOWN", tmp_path / "known")
    folder = write_model(tmp_path / "models" / "colours")
    describe(tmp_path / "known", folder)
    assert failures(find_models([tmp_path / "models"], embedded=False)) == {"colours": ""}
    assert failures(find_models([folder], embedded=False)) == {"colours": ""}


def test_a_shipped_description_fits_by_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under another name the file's SHA-256 decides, and other bytes are another model."""
    monkeypatch.setattr(registry, "KNOWN", tmp_path / "known")
    folder = write_model(tmp_path / "models" / "downloaded")
    describe(tmp_path / "known", folder)
    assert failures(find_models([tmp_path / "models"], embedded=False)) == {"colours": ""}
    (folder / "colours.onnx").write_bytes(b"other")
    assert "no shipped description fits" in failures(find_models([tmp_path / "models"], embedded=False))["downloaded"]


def test_a_description_of_ones_own_comes_before_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The person who wrote it knows better."""
    monkeypatch.setattr(registry, "KNOWN", tmp_path / "known")
    describe(tmp_path / "known", write_model(tmp_path / "models" / "colours"))
    write_model(tmp_path / "models" / "colours", version='version = "mine"')
    (model,) = find_models([tmp_path / "models"], embedded=False)
    assert model.spec is not None
    assert model.spec.version == "mine"


def test_a_wrong_description_is_a_failure_that_names_the_file(tmp_path: Path) -> None:
    """Path, field, value and what is allowed."""
    model = read_model(write_model(tmp_path / "bad", layout="HWC"))
    assert model.failure.startswith(f"{tmp_path / 'bad' / 'model.toml'}: input.layout = 'HWC': must be one of")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"\xff\xfe", "is not UTF-8 at byte 0"),
        (b"a" * (registry.MAX_DESCRIPTION_BYTES + 1), "at most 1048576 are read"),
    ],
)
def test_a_description_is_bounded_and_text(tmp_path: Path, text: bytes, reason: str) -> None:
    """What is no text, or no end of it, is not parsed."""
    (tmp_path / "model.toml").write_bytes(text)
    assert reason in read_model(tmp_path).failure


def with_labels(folder: Path, content: bytes | None) -> FoundModel:
    write_model(folder, names='file = "labels.txt"')
    if content is not None:
        (folder / "labels.txt").write_bytes(content)
    return read_model(folder)


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (b"a\nb, c\n", ("a", "b, c")),
        (b"a\r\nb\r\n", ("a", "b")),
        (b"\xef\xbb\xbfa\n\nc", ("a", "", "c")),
        ("è\n".encode(), ("è",)),
    ],
)
def test_line_n_of_the_labels_names_output_n(tmp_path: Path, content: bytes, labels: tuple[str, ...]) -> None:
    """Windows line ends, a byte order mark and an empty line in the middle do not move a label."""
    assert with_labels(tmp_path, content).labels == labels


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "there is no such file"), (b"a\n\xff", "is not UTF-8"), (b"a" * 1001, "a line over 1000 characters")],
)
def test_labels_that_cannot_be_used_are_a_failure(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """With the file and the reason."""
    assert f"{tmp_path / 'labels.txt'}: " in with_labels(tmp_path, content).failure
    assert reason in with_labels(tmp_path, content).failure


def test_a_file_is_given_to_an_engine_only_as_it_was_described(tmp_path: Path) -> None:
    """The right bytes are returned; one changed byte is refused with both checksums."""
    model = read_model(write_model(tmp_path, b"network"))
    assert read_verified(model) == b"network"
    (tmp_path / "colours.onnx").write_bytes(b"netw0rk")
    with pytest.raises(SpecError) as caught:
        read_verified(model)
    for content in (b"network", b"netw0rk"):
        assert hashlib.sha256(content).hexdigest() in str(caught.value)


@pytest.mark.parametrize("place", ["nowhere", "file", "empty"])
def test_a_model_dir_that_holds_no_model_is_refused(tmp_path: Path, place: str) -> None:
    """A wrong path is a mistake in the configuration, not a broken model."""
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecError, match=f"--model-dir {tmp_path / place}: "):
        find_models([tmp_path / place])


def test_too_many_folders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's home folder is no model dir."""
    monkeypatch.setattr(registry, "MAX_FOLDERS", 2)
    for name in "abc":
        (tmp_path / name).mkdir()
    with pytest.raises(SpecError, match="has 3 folders; at most 2 are read"):
        find_models([tmp_path])


def test_the_embedded_model_is_whole_and_small() -> None:
    """Its file is the one that its description means, under 500 kB, with a label for each digit and ten samples."""
    model = read_model(EMBEDDED)
    assert len(read_verified(model)) < 500_000
    assert model.labels == tuple("0123456789")
    assert [path.name for path in sorted((EMBEDDED / "samples").iterdir())] == [f"digit-{n}.png" for n in range(10)]


def saved_model(folder: Path, files: dict[str, bytes], sha256: str = "") -> FoundModel:
    """A model whose network is a folder."""
    for path, content in files.items():
        (folder / "saved" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "saved" / path).write_bytes(content)
    digest = f'sha256 = "{sha256 or folder_sha256(files)}"'
    return read_model(write_model(folder, format='format = "saved-model"', file='file = "saved"', sha256=digest))


FILES = {"saved_model.pb": b"graph", "variables/variables.index": b"", "variables/variables.data-0": b"weights"}


def test_a_network_that_is_a_folder_is_read_whole(tmp_path: Path) -> None:
    """Each file under its path, whatever order the folder lists them in."""
    assert read_verified(saved_model(tmp_path, FILES)) == FILES


def test_the_checksum_of_a_folder_is_the_one_of_the_documented_command(tmp_path: Path) -> None:
    """So that whoever writes a description can make it."""
    saved_model(tmp_path, {**FILES, "A-b": b"1", "variables.txt": b"2"})
    command = "find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum"
    page = (Path(__file__).parents[3] / "docs/reference/models.md").read_text(encoding="utf-8")
    assert f"cd my-model/saved && {command}" in page
    run = subprocess.run(["sh", "-c", command], cwd=tmp_path / "saved", check=True, capture_output=True, text=True)
    assert run.stdout.split()[0] == folder_sha256({**FILES, "A-b": b"1", "variables.txt": b"2"})


@pytest.mark.parametrize("path", list(FILES))
def test_a_folder_with_another_file_is_refused(tmp_path: Path, path: str) -> None:
    """A changed, missing or added file changes the checksum."""
    for change in ({**FILES, path: b"other"}, {name: FILES[name] for name in FILES if name != path}):
        model = saved_model(tmp_path / str(len(change)) / path.replace("/", "_"), change, folder_sha256(FILES))
        with pytest.raises(SpecError, match="its SHA-256 is"):
            read_verified(model)


def test_what_a_folder_must_not_hold_is_named(tmp_path: Path) -> None:
    """A link could lead out of the folder, a name could not be listed; too many files or none are no network."""
    (saved_model(tmp_path / "link", FILES).folder / "saved" / "link").symlink_to("/etc/passwd")
    (saved_model(tmp_path / "name", FILES).folder / "saved" / "a b").write_bytes(b"")
    saved_model(tmp_path / "many", {f"f{number}": b"" for number in range(registry.MAX_MODEL_FILES + 1)})
    for folder, reason in {
        "link": "is a link",
        "name": "is a link, or its name",
        "many": "has over 1000 files",
    }.items():
        with pytest.raises(SpecError, match=reason):
            read_verified(read_model(tmp_path / folder))
    gone = write_model(tmp_path / "gone", format='format = "saved-model"', file='file = "saved"')
    with pytest.raises(SpecError, match="there is no such folder"):
        read_verified(read_model(gone))
