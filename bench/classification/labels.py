"""A labels file: what is to be seen on each picture.

CSV with a head: `file`, and `class_index`, `label` or both. Without a head the two columns are file and label. An index
is compared with the model's index; a label, where there is no index, with the model's label.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bench.errors import BenchError

MAX_FILE_BYTES = 256 << 20


@dataclass(frozen=True)
class Truth:
    """What one picture shows."""

    index: int | None
    """As the model counts; None when only the label is known."""
    label: str

    def is_answered_by(self, index: int, label: str) -> bool:
        """Whether a prediction is this."""
        return index == self.index if self.index is not None else label.casefold() == self.label.casefold()


def read_labels(file: Path) -> dict[str, Truth]:
    """By the name in the file. Raises BenchError with the line."""
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise BenchError(f"{file} has over {MAX_FILE_BYTES} bytes: is it a labels file?")
        with file.open(newline="", encoding="utf-8-sig") as table:
            truths = dict(_rows(csv.reader(table), file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BenchError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
    if not truths:
        raise BenchError(f"{file} has no label")
    return truths


def truth_of(name: str, truths: Mapping[str, Truth]) -> Truth | None:
    """By its path below the folder, or else by its file name alone."""
    return truths.get(name) or truths.get(PurePosixPath(name).name)


def _rows(rows: Iterator[list[str]], file: Path) -> Iterator[tuple[str, Truth]]:
    columns: Sequence[str] = ()
    for line, row in enumerate(rows, start=1):
        if not any(cell.strip() for cell in row):
            continue
        if not columns:
            columns = _columns(row, file)
            if "file" in (cell.strip() for cell in row):
                continue
        cells = dict(zip(columns, (cell.strip() for cell in row), strict=False))
        name, index, label = cells.get("file", ""), cells.get("class_index", ""), cells.get("label", "")
        if not name or not (index or label):
            raise BenchError(
                f"{file}, line {line}: neither a class_index nor a label" if name else f"{file}, line {line}: no file"
            )
        if index and not (index.isascii() and index.isdigit()):
            raise BenchError(f"{file}, line {line}: class_index {index!r} is no number")
        yield name, Truth(int(index) if index else None, label or index)


def _columns(head: Sequence[str], file: Path) -> Sequence[str]:
    names = [cell.strip() for cell in head]
    if "file" not in names:
        if len(names) != 2:
            raise BenchError(f"{file} has no head with `file` and `class_index` or `label`, and not two columns either")
        return ("file", "label")
    if not {"class_index", "label"} & set(names):
        raise BenchError(f"{file}: beside `file` there is neither a column `class_index` nor `label`")
    return names
