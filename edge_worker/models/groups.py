"""Named groups of classes, such as every breed of dog: what `?query=dog` sums up.

A description writes a group as class indices and inclusive ranges; what a model's labels call its classes is known here
for ImageNet's dogs and cats, because models number the same classes differently. Checks text and numbers only.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

IMAGENET = Path(__file__).parent / "imagenet_groups.toml"

MAX_GROUPS = 100
"""Groups of one model: their names travel in the worker's HELLO."""
_RANGE = re.compile(r"([0-9]{1,7})-([0-9]{1,7})")


def parse_indices(written: object, most: int) -> tuple[int, ...]:
    """The class indices that a description's list means, each once, in order: `[7, "151-268"]`.

    Raises ValueError for what is no such list, an empty one, and an index from `most` on.
    """
    if not isinstance(written, list) or not written:
        raise ValueError('must be a list of class indices and ranges, such as [7, "151-268"]')
    indices: set[int] = set()
    for one in written:
        first, last = _bounds(one)
        if not first <= last:
            raise ValueError(f"{one!r}: a range goes from the smaller index to the larger")
        if last >= most:
            raise ValueError(f"{one!r}: indices go from 0 to {most - 1}")
        indices.update(range(first, last + 1))
    return tuple(sorted(indices))


def _bounds(one: object) -> tuple[int, int]:
    if type(one) is int and one >= 0:
        return one, one
    match = _RANGE.fullmatch(one) if isinstance(one, str) else None
    if match is None:
        raise ValueError(f'{one!r:.80}: must be an index, or a range such as "151-268"')
    return int(match[1]), int(match[2])


def imagenet_groups(labels: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The groups that these labels have members of, by the labels' own numbering.

    Of a label with synonyms ("Siamese cat, Siamese") the first counts; Keras writes underscores for spaces. Case tells
    a Cardigan, which barks, from a cardigan, which is worn.
    """
    numbers: dict[str, int] = {}
    for index, label in enumerate(labels):
        numbers.setdefault(label.split(",")[0].strip().replace("_", " "), index)
    named = tomllib.loads(IMAGENET.read_text(encoding="utf-8"))
    found = {group: sorted(numbers[name] for name in names if name in numbers) for group, names in named.items()}
    return {group: tuple(indices) for group, indices in found.items() if indices}


def written(groups: Mapping[str, Sequence[int]]) -> str:
    """The lines of a description's [groups], runs of indices as ranges."""
    return "".join(f"{name} = [{', '.join(_runs(indices))}]\n" for name, indices in groups.items())


def _runs(indices: Sequence[int]) -> list[str]:
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return [str(run[0]) if len(run) == 1 else f'"{run[0]}-{run[-1]}"' for run in runs]
