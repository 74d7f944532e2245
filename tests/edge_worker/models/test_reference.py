"""The pages about models say what the code does."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from edge_worker.backends import image_header, settings
from edge_worker.batch_rules import BatchRule
from edge_worker.models import groups, registry, spec
from edge_worker.models.spec import InputSpec, ModelSpec, OutputSpec, parse_spec

DOCS = Path(__file__).parents[3] / "docs"
REFERENCE = (DOCS / "reference" / "models.md").read_text(encoding="utf-8")
HOW_TO = (DOCS / "howto" / "own-model.md").read_text(encoding="utf-8")


def example(page: str) -> str:
    (block,) = re.findall(r"^( *)```toml\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL)
    return "\n".join(line.removeprefix(block[0]) for line in block[1].splitlines())


def fields() -> list[str]:
    """Every field that a description may have, in full."""
    plain = [field.name for field in dataclasses.fields(ModelSpec)]
    plain = [name for name in plain if name not in ("input", "output", "labels", "labels_file", "batching", "groups")]
    tables = [f"input.{field.name}" for field in dataclasses.fields(InputSpec)]
    tables += [f"output.{field.name}" for field in dataclasses.fields(OutputSpec)]
    tables += [f"batching.{field.name}" for field in dataclasses.fields(BatchRule)]
    return [*plain, *tables, "labels.file", "labels.names", "groups.NAME"]


def test_the_example_of_the_reference_is_the_shipped_description() -> None:
    """It can be copied, and says what is shipped for the same model."""
    shipped = (registry.KNOWN / "mobilenet_v2.toml").read_text(encoding="utf-8")
    said = dataclasses.replace(parse_spec(example(REFERENCE)), weights="")
    assert said == dataclasses.replace(parse_spec(shipped), weights="")


def test_the_example_of_the_how_to_is_right_but_for_its_checksum() -> None:
    """The reader fills in one thing."""
    assert parse_spec(re.sub(r'(?m)^sha256 = ".*"$', f'sha256 = "{"0" * 64}"', example(HOW_TO))).name == "birds"


@pytest.mark.parametrize("field", fields())
def test_each_field_is_in_the_table(field: str) -> None:
    """The reference has a row for it."""
    assert re.search(rf"^\|.*`{re.escape(field)}`", REFERENCE, re.MULTILINE)


@pytest.mark.parametrize("value", [*spec.FORMATS, *spec.LAYOUTS, *spec.COLOURS, *spec.RESIZES, *spec.INTERPOLATIONS])
def test_each_allowed_value_is_in_the_table(value: str) -> None:
    """The reference names it in a row."""
    assert re.search(rf"^\|.*`{re.escape(value)}`", REFERENCE, re.MULTILINE)


@pytest.mark.parametrize(
    "text",
    [
        f"1 to {spec.MAX_SIDE_PX}",
        f"{settings.DEFAULT_MAX_PIXELS // 1_000_000} million by default",
        f"{image_header.MAX_SIDE_PX:,} pixels",
        f"| scans of a progressive JPEG | {image_header.MAX_SCANS} |",
        f"{registry.MAX_MODEL_BYTES >> 30} GiB",
        f"{spec.MAX_LABELS:,}, of {spec.MAX_TEXT} characters",
        f"up to {groups.MAX_GROUPS} groups",
        f"| folders in a model dir | {registry.MAX_FOLDERS} |",
        *[f"`{path.stem}`" for path in registry.KNOWN.glob("*.toml")],
        *image_header.FORMATS,
    ],
)
def test_each_limit_is_the_one_of_the_code(text: str) -> None:
    """A limit that changes, changes in the reference."""
    assert text in REFERENCE
