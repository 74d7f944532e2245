"""What `edge-worker models` prints, what it leaves with, and what it refuses."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from edge_worker import cli, models_cli
from edge_worker.models import catalogue, inventory
from edge_worker.models.catalogue import CATALOGUE
from edge_worker.models.pull import Order
from edge_worker.models.spec import ENGINES
from tests.support.models import write_model

DOCS = Path(__file__).parents[2] / "docs" / "reference"
CHECKSUMS = {
    "d13569f6a98159de37e92e9c8ec4dae8f674fbf475f69fe6199b514f756d4364",
    "a39b08b826c9d5a5532ff424c03a3a11a202967544e389aca4b06c2bd8aef63f",
    "da2a31ecfe9f212ae8dd07379b11a74cb2d7a110eba12c5fc8c862a65b8e6606",
}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in models_cli.PULL:
        monkeypatch.delenv(option.variable, raising=False)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main(["models", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


def row(out: str, name: str) -> list[str]:
    """The cells of a model's line."""
    (line,) = [line for line in out.splitlines() if line.split()[0] == name]
    return re.split(r" {2,}", line)


def test_list_shows_what_is_here_and_what_could_be(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Installed, broken and not installed, each model once."""
    write_model(tmp_path / "colours")
    write_model(tmp_path / "odd", format='format = "tflite"')
    (write_model(tmp_path / "gone", name='name = "gone"') / "colours.onnx").unlink()
    status, out, _ = run(capsys, "list", "--model-dir", str(tmp_path))
    assert status == 0
    assert row(out, "colours") == ["colours", "installed", "onnx", "made by hand", str(tmp_path / "colours")]
    assert row(out, "odd")[1] == "broken"
    assert row(out, "gone")[1] == "broken"
    assert row(out, "digits")[1] == "installed"
    assert {row(out, model.name)[1] for model in CATALOGUE} == {"not installed"}


def test_an_installed_model_is_not_listed_as_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One line a name."""
    write_model(tmp_path / "googlenet", name='name = "googlenet"')
    _, out, _ = run(capsys, "list", "--model-dir", str(tmp_path))
    assert row(out, "googlenet")[1] == "installed"


def test_show_says_everything(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Of an installed model: file, size, checksum, input, values, labels, and who can serve it."""
    folder = write_model(tmp_path / "colours", b"network")
    status, out, _ = run(capsys, "show", "colours", "--model-dir", str(tmp_path))
    assert status == 0
    text = " ".join(out.split())
    for part in (str(folder), "colours.onnx, 7 bytes", "served by opencv_dnn", "picture, 6x4 RGB, NCHW", "3 classes"):
        assert part in text


def test_show_says_what_is_published(capsys: pytest.CaptureFixture[str]) -> None:
    """Addresses, checksums and licence of a model that is not here."""
    _, out, _ = run(capsys, "show", "googlenet")
    assert set(re.findall(r"sha256:([0-9a-f]{64})", out)) >= CHECKSUMS
    assert "https://storage.googleapis.com/download.tensorflow.org/models/inception5h.zip" in out
    assert "Apache-2.0" in out
    assert "mean 117 117 117, scale 1 1 1" in out


def test_a_model_that_nobody_knows_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, for `show` and for `pull`, which says what there is."""
    assert run(capsys, "show", "cats")[0] == 2
    status, _, err = run(capsys, "pull", "cats")
    assert status == 2
    assert "'cats' is not in the catalogue; there are googlenet, inception_v3" in err


def test_verify_reads_every_byte(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One changed byte is status 1, with the file and both checksums; the others are told all the same."""
    write_model(tmp_path / "colours")
    assert run(capsys, "verify", "--model-dir", str(tmp_path))[:2] == (0, "colours: ok\ndigits: ok\n")
    (tmp_path / "colours" / "colours.onnx").write_bytes(b"netw0rk")
    status, out, _ = run(capsys, "verify", "--model-dir", str(tmp_path))
    assert status == 1
    assert re.search(r"^colours: .*colours\.onnx: its SHA-256 is [0-9a-f]{64}, but model\.toml says", out)
    assert "digits: ok" in out


def test_verify_takes_names(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Those alone, and one that is not there is status 1."""
    write_model(tmp_path / "colours", format='format = "tflite"')
    arguments = ("--model-dir", str(tmp_path))
    assert run(capsys, "verify", "digits", *arguments)[:2] == (0, "digits: ok\n")
    assert run(capsys, "verify", "cats", *arguments)[:2] == (1, "cats: is not installed\n")
    assert run(capsys, "verify", "colours", *arguments)[0] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--weights", "trained"), "--weights = 'trained': must be one of imagenet, random"),
        (("--seed", "x"), "--seed = 'x': must be a whole number"),
        (("--seed", "3"), "--seed = 3: goes with --weights random"),
        (("--from", "gone"), "--from = 'gone': there is no such file or folder"),
        (("--weights", "random", "--from", "."), "random weights are made, not brought"),
        (("--model-dir", "a,b"), "--model-dir = 'a,b': must be one folder"),
    ],
)
def test_a_wrong_order_is_refused(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str) -> None:
    """Status 2, and the flag with its value."""
    status, _, err = run(capsys, "pull", "googlenet", *arguments)
    assert status == 2
    assert message in err


def test_pull_hands_the_order_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flags and variables become one order; the place is printed."""
    orders: list[Order] = []
    monkeypatch.setattr("edge_worker.models.pull.pull", lambda order, progress: (orders.append(order), tmp_path)[1])
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "models"))
    status, out, _ = run(capsys, "pull", "xception", "--weights", "random", "--seed", "7", "--format", "keras")
    assert (status, out) == (0, f"xception: installed in {tmp_path}\n")
    assert orders == [Order(catalogue.known_model("xception"), "random", 7, "keras", None, tmp_path / "models")]


def test_a_failed_pull_is_status_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reason is on standard error."""
    model = dataclasses.replace(
        catalogue.known_model("googlenet"), weights=catalogue.RemoteFile("https://a.test/x", "")
    )
    monkeypatch.setattr(models_cli, "known_model", lambda name: model)
    status, out, err = run(capsys, "pull", "googlenet", "--model-dir", str(tmp_path), "--from", str(tmp_path))
    assert (status, out) == (1, "")
    assert "there is no such file" in err


def test_a_stopped_pull_is_status_130(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says how it goes on."""

    def stopped(order: Order, progress: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr("edge_worker.models.pull.pull", stopped)
    status, _, err = run(capsys, "pull", "googlenet", "--model-dir", str(tmp_path))
    assert status == 130
    assert "the same command goes on" in err


def test_each_option_is_in_the_reference() -> None:
    """Flag, variable and default, in the order of the help."""
    page = (DOCS / "command-line.md").read_text(encoding="utf-8")
    section = page.partition("## edge-worker models pull\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `--([a-z-]+)[^`]*` \| `([A-Z_]+)` \| (?:`([^`]*)` )?\|", section, re.MULTILINE)
    assert rows == [(option.flag, option.variable, option.default) for option in models_cli.PULL]


@pytest.mark.parametrize("model", CATALOGUE, ids=lambda model: model.name)
def test_the_catalogue_is_in_the_reference(model: catalogue.CatalogueModel) -> None:
    """A row for each model: its size, colours, output and number of classes."""
    page = (DOCS / "models.md").read_text(encoding="utf-8")
    pixels = model.input
    start = f"| `{model.name}` | {model.title} | {pixels.width}x{pixels.height} {pixels.colour} |"
    (line,) = [line for line in page.splitlines() if line.startswith(start)]
    assert f"| `{model.output}`, {model.classes} |" in line


def test_the_engines_of_each_format_are_those_that_load_it() -> None:
    """What `show` says is what the backends take."""
    from edge_worker.backends.opencv_dnn import OpenCVLoader

    assert {format for format, engines in ENGINES.items() if "opencv_dnn" in engines} == set(OpenCVLoader.formats)
    tensorflow = pytest.importorskip("edge_worker.backends.tensorflow", reason="tensorflow is not installed")
    assert {one for one, engines in ENGINES.items() if "tensorflow" in engines} == set(
        tensorflow.TensorFlowLoader.formats
    )


def test_columns_are_aligned() -> None:
    """By the widest cell, and no line ends in spaces."""
    assert inventory.aligned([("a", "b"), ("long", "")]) == "a     b\nlong"
