"""Points of the unit cube: low-discrepancy, stratified, random, or a grid.

Floor 0: NumPy, and SciPy's ``qmc`` where it is asked for.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

__all__ = ["KINDS", "unit_points"]

KINDS = ("sobol", "latin", "uniform", "grid")


def unit_points(count: int, dimension: int, seed: int = 0, kind: str = "sobol") -> Any:
    """``count`` points (count, dimension) of [0, 1]^dimension, NumPy float64, the same for the same seed.

    ``"sobol"``: a scrambled Sobol sequence; ``"latin"``: a Latin hypercube; ``"uniform"``: independent;
    ``"grid"``: as many equidistant coordinates a side as make at least ``count``, with the ends, whatever the seed.
    """
    try:
        count = operator.index(count)
    except TypeError:
        raise TypeError(f"the count of points is a whole number, got {count!r}: pass int(…) of it") from None
    if count < 1:
        raise ValueError(f"the count of points is >= 1, got {count}")
    if kind not in KINDS:
        raise ValueError(f"points are {', '.join(map(repr, KINDS))}; got {kind!r}")
    if kind == "uniform":
        return np.random.default_rng(seed).random((count, dimension))
    if kind == "grid":
        side = max(2, math.ceil(round(count ** (1 / dimension), 9)))
        axes = np.meshgrid(*[np.linspace(0, 1, side)] * dimension, indexing="ij")
        return np.stack([axis.ravel() for axis in axes], axis=-1)
    from scipy.stats import qmc

    rng = np.random.default_rng(seed)
    if kind == "latin":
        return qmc.LatinHypercube(dimension, seed=rng).random(count)
    # A whole power of two is drawn, which is what the sequence is balanced for, and its beginning kept.
    return qmc.Sobol(dimension, scramble=True, seed=rng).random_base2(max(0, (count - 1).bit_length()))[:count]
