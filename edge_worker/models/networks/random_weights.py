"""Weights for networks that are only measured: drawn from a seed, and scaled so that pictures are told apart.

Plain draws give deep networks one flat answer for every picture. So every layer is fitted once, on pictures that the
seed draws too, to have mean 0 and deviation 1 (Mishkin and Matas 2015, "All you need is a good init"). Where a layer is
fitted here the numbers are rounded, so that another order of summing up gives the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

PICTURES = 16
"""Enough for a mean that holds for other pictures, few enough to take seconds."""
LOGIT_DEVIATION = 1.0
"""Of 1000 classes the likeliest then has a probability of a few per cent, and another one for another picture. With
more, what engines round differently, which a random network magnifies, would show in the fourth digit."""
_STEPS = 16
"""Roundings to the unit, and to the doubling: a mean's and a deviation's."""


def drawn_pictures(rng: np.random.Generator, side: int, mean: Sequence[float], scale: Sequence[float]) -> Array:
    """[PICTURES, side, side, 3] as the network takes them: patches of every size, as much of each as of any other,
    which is how light is spread over photographs (Field 1987); some brighter and of more contrast than others."""
    pixels = rng.uniform(60, 190, (PICTURES, 1, 1, 3))
    contrast = rng.uniform(8, 30, (PICTURES, 1, 1, 1))
    for patches in (1 << octave for octave in range(1, side.bit_length())):
        grid = np.arange(side) * patches // side
        pixels = pixels + contrast * rng.normal(0, 1, (PICTURES, patches, patches, 3))[:, grid][:, :, grid]
    values: Array = ((np.clip(pixels, 0, 255) - np.asarray(mean)) * np.asarray(scale)).astype(np.float32)
    return values


def drawn_kernel(rng: np.random.Generator, shape: Sequence[int], inputs: int) -> Array:
    """He initialisation (He et al. 2015): the deviation is sqrt(2 / inputs of a unit)."""
    kernel: Array = rng.normal(0.0, np.sqrt(2.0 / inputs), tuple(shape)).astype(np.float32)
    return kernel


def fitted(outputs: Array) -> tuple[Array, Array]:
    """For each channel (the last axis) the factor, and what to add after it, that give `outputs` mean 0 and
    deviation 1."""
    axes = tuple(range(outputs.ndim - 1))
    return _rounded(outputs.std(axis=axes), outputs.mean(axis=axes))


def fitted_logits(logits: Array) -> tuple[Array, Array]:
    """As `fitted` for logits [N, classes], but with one factor for all: N numbers are too few for one a class."""
    deviation = np.sqrt(logits.var(axis=0).mean(keepdims=True))
    return _rounded(deviation / LOGIT_DEVIATION, logits.mean(axis=0))


def _rounded(deviation: Array, mean: Array) -> tuple[Array, Array]:
    factor = np.exp2(np.rint(-_STEPS * np.log2(np.maximum(deviation, 1e-6))) / _STEPS)
    shift = np.rint(-_STEPS * mean * factor) / _STEPS
    return factor.astype(np.float32), shift.astype(np.float32)
