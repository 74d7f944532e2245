"""What there is: the catalogue and the models of the folders, as tables for people.

Loads no engine; a network's bytes are read only to be verified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_worker.models.catalogue import CATALOGUE, CatalogueModel
from edge_worker.models.registry import FoundModel, read_verified
from edge_worker.models.spec import ENGINES, InputSpec, SpecError

_GAP = 2


def listing(found: Sequence[FoundModel]) -> str:
    """A line for each model: installed or broken ones first, then those of the catalogue that are not here."""
    rows = [("MODEL", "STATE", "FORMAT", "WEIGHTS", "WHERE")]
    for model in found:
        spec = model.spec
        format, weights = (spec.format, _short(spec.weights)) if spec else ("", "")
        rows.append((model.name, "broken" if failure_of(model) else "installed", format, weights, str(model.folder)))
    here = {model.name for model in found}
    rows += [
        (known.name, "not installed", known.formats[0], known.licence, f"models pull {known.name}")
        for known in CATALOGUE
        if known.name not in here
    ]
    return aligned(rows)


def failure_of(model: FoundModel) -> str:
    """Why a model cannot be served, as far as can be told without reading the network; empty if it seems whole."""
    if model.spec is None:
        return model.failure
    path = model.folder / model.spec.file
    return "" if path.exists() else f"{path}: there is no such file"


def verified(model: FoundModel) -> str:
    """Why a model is not what its description says, every byte read; empty if it is."""
    if model.spec is None:
        return model.failure
    try:
        read_verified(model)
    except (SpecError, OSError) as error:
        return str(error)
    return ""


def details(name: str, found: Sequence[FoundModel]) -> str:
    """Everything about one model. Raises LookupError if nobody knows it."""
    installed = next((model for model in found if model.name == name), None)
    known = next((model for model in CATALOGUE if model.name == name), None)
    if installed is None and known is None:
        raise LookupError(f"{name!r} is neither installed nor in the catalogue")
    parts = [_installed(installed)] if installed else []
    return "\n".join([*parts, *([_published(known)] if known else [])])


def _installed(model: FoundModel) -> str:
    rows = [("name", model.name), ("folder", str(model.folder))]
    if model.spec is None:
        return aligned([*rows, ("state", f"broken: {model.failure}")])
    spec = model.spec
    failure = failure_of(model)
    path = model.folder / spec.file
    size = "" if failure or path.is_dir() else f", {path.stat().st_size} bytes"
    return aligned(
        [
            *rows,
            ("state", f"broken: {failure}" if failure else "installed"),
            ("version", spec.version),
            ("file", f"{spec.file}{size}"),
            ("sha256", spec.sha256),
            ("format", spec.format),
            ("served by", ", ".join(ENGINES[spec.format])),
            ("weights", spec.weights or "not said"),
            *_input_rows(spec.input),
            ("output", f"{spec.output.name or 'the only one'}, {len(model.labels)} classes"),
            ("labels", spec.labels_file or "in the description"),
            ("groups", ", ".join(f"{group} ({len(of)})" for group, of in spec.groups.items()) or "none"),
        ]
    )


def _published(model: CatalogueModel) -> str:
    rows = [("published as", model.title), ("licence", model.licence)]
    for file in (*model.files, *model.members):
        rows.append(("file", file.url))
        rows.append(("", file.checksum or "no checksum is published"))
    rows += _input_rows(model.input)
    rows.append(("output", f"{model.output}, {model.classes} classes"))
    for format in model.formats:
        rows.append((f"as {format}", f"served by {', '.join(ENGINES[format])}"))
    return aligned(rows)


def _input_rows(pixels: InputSpec) -> list[tuple[str, str]]:
    means, scales = (" ".join(f"{number:g}" for number in numbers) for numbers in (pixels.mean, pixels.scale))
    return [
        ("input", f"{pixels.name or 'the only one'}, {pixels.width}x{pixels.height} {pixels.colour}, {pixels.layout}"),
        ("values", f"(pixel - mean) * scale, mean {means}, scale {scales}"),
        ("resize", f"{pixels.resize}, {pixels.interpolation}"),
    ]


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[column]) for row in rows) + _GAP for column in range(len(rows[0]))]
    lines = ("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def state_of(models: Sequence[FoundModel], names: Sequence[str]) -> Mapping[str, str]:
    """For each model that is asked for, all if none is named, why it is not right; empty if it is."""
    by_name = {model.name: model for model in models}
    return {name: verified(by_name[name]) if name in by_name else "is not installed" for name in names or list(by_name)}
